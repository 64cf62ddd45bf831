//! The build step's half of this room: reads a shader, proves it fit for the portable floor, and writes its contract.
//!
//! `build.rs` includes this file; the crate does not. `tests/contracts.rs` feeds broken shaders to the built `build.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};

/// What every adapter of the WebGPU baseline offers. A kernel that needs more cannot be portable.
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_WORKGROUP_BYTES: u32 = 16 * 1024;
const MAX_INVOCATIONS: u32 = 256;
const MAX_PARAMS_BYTES: u32 = 64;

/// The fields that begin every `Params`: the executor cuts a dispatch into slices by them, and `zero` feeds `pin`.
const GRID: [&str; 4] = ["wg_base", "wg_count", "wg_row", "zero"];

/// The warmup stages a kernel can belong to; the sixth is the application's own plan.
const STAGES: [&str; 5] = ["basic", "dense", "temporal", "convolution", "spiking"];

/// A defect of a shader: where, and what.
#[derive(Debug, PartialEq)]
pub struct Defect {
    /// The file that holds the defect.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: u32,
    /// The cause.
    pub message: String,
}

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// A storage binding, in binding order.
struct Binding {
    name: String,
    writes: bool,
    /// The Rust type of an element.
    elem: &'static str,
    elem_bytes: u32,
}

/// One compiled variant of a kernel.
struct Variant {
    name: String,
    wgsl: String,
    /// The same with a constant for every use of a parameter that can be specialised.
    template: String,
    workgroup_size: [u32; 3],
    workgroup_bytes: u32,
}

/// A kernel as its shader states it.
pub struct Contract {
    name: String,
    doc: Vec<String>,
    stage: usize,
    bindings: Vec<Binding>,
    /// Name, Rust type and offset of every field after the grid.
    params: Vec<(String, &'static str, u32)>,
    params_bytes: u32,
    /// Of `params`, those that can be constants of the text.
    specialise: Vec<(String, &'static str, u32)>,
    variants: Vec<Variant>,
}

/// A kernel's text with every line's origin, so that a defect names the file it stands in.
#[derive(Default)]
struct Text {
    wgsl: String,
    origin: Vec<(PathBuf, u32)>,
}

impl Text {
    fn append(&mut self, file: &Path, text: &str) {
        for (i, line) in text.lines().enumerate() {
            self.wgsl.push_str(line);
            self.wgsl.push('\n');
            self.origin.push((file.to_path_buf(), i as u32 + 1));
        }
    }

    fn defect(&self, line: u32, message: String) -> Defect {
        let (file, line) = self.origin.get(line.saturating_sub(1) as usize).unwrap_or(&self.origin[0]).clone();
        Defect { file, line, message }
    }
}

#[derive(Default)]
struct Header {
    doc: Vec<String>,
    stage: Option<usize>,
    imports: Vec<String>,
    /// Parameters, each with its line.
    specialise: Vec<(String, u32)>,
    variants: Vec<(String, BTreeMap<String, String>)>,
}

fn header(file: &Path, text: &str) -> Result<Header, Defect> {
    let mut head = Header::default();
    for (i, line) in text.lines().enumerate() {
        let Some(line) = line.strip_prefix("//!") else { continue };
        let defect = |message: String| Defect { file: file.to_path_buf(), line: i as u32 + 1, message };
        let line = line.trim();
        if let Some(stage) = line.strip_prefix("stage:") {
            let at = STAGES.iter().position(|s| *s == stage.trim());
            head.stage =
                Some(at.ok_or_else(|| defect(format!("unknown stage \"{}\"; one of {STAGES:?}", stage.trim())))?);
        } else if let Some(names) = line.strip_prefix("import:") {
            head.imports.extend(names.split_whitespace().map(str::to_owned));
        } else if let Some(names) = line.strip_prefix("specialise:") {
            let names = names.split(',').map(|name| (name.trim().to_owned(), i as u32 + 1));
            head.specialise.extend(names);
        } else if let Some(rest) = line.strip_prefix("variant:") {
            let mut words = rest.split_whitespace();
            let name = words.next().ok_or_else(|| defect("a variant needs a name".into()))?;
            let mut constants = BTreeMap::new();
            for word in words {
                let (key, value) =
                    word.split_once('=').ok_or_else(|| defect(format!("\"{word}\" is not NAME=VALUE")))?;
                constants.insert(key.to_owned(), value.to_owned());
            }
            head.variants.push((name.to_owned(), constants));
        } else {
            head.doc.push(line.to_owned());
        }
    }
    Ok(head)
}

/// Replaces the value of `const KEY… = value;` lines. A key that no line declares is a defect.
fn substitute(file: &Path, text: &str, constants: &BTreeMap<String, String>) -> Result<String, Defect> {
    let mut missing: Vec<&String> = constants.keys().collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let declared = line
            .strip_prefix("const ")
            .and_then(|rest| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next());
        match declared.and_then(|name| constants.get_key_value(name)) {
            Some((key, value)) => {
                missing.retain(|m| *m != key);
                let before = line.split_once('=').map_or(line, |(before, _)| before);
                let _ = writeln!(out, "{before}= {value};");
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    match missing.first() {
        Some(key) => Err(Defect {
            file: file.to_path_buf(),
            line: 1,
            message: format!("a variant sets {key}, and no line begins with \"const {key}\""),
        }),
        None => Ok(out),
    }
}

/// The text with `p_FIELD` for every `p.FIELD`, and for each field whether there was one.
///
/// `None` if the text has a name `p_FIELD` of its own.
fn template(text: &str, fields: &[(String, &'static str, u32)]) -> Option<(String, Vec<bool>)> {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut used = vec![false; fields.len()];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c: char| !in_name(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length.max(first.len_utf8()));
        if fields.iter().any(|(field, ..)| word.strip_prefix("p_") == Some(field)) {
            return None;
        }
        let member = after.strip_prefix('.').map(|m| m.split(|c| !in_name(c)).next().unwrap_or_default());
        let field = fields.iter().position(|(field, ..)| word == "p" && member == Some(field));
        // The member of something else that is named p too.
        let field = field.filter(|_| !out.ends_with('.'));
        out.push_str(word);
        rest = after;
        if let Some(i) = field {
            used[i] = true;
            out.push('_');
            rest = &after[1..];
        }
    }
    Some((out, used))
}

/// What a kernel's header asks to specialise, as fields of its parameters.
fn specialised(
    file: &Path,
    head: &[(String, u32)],
    params: &[(String, &'static str, u32)],
) -> Result<Vec<(String, &'static str, u32)>, Defect> {
    let mut out: Vec<(String, &'static str, u32)> = Vec::new();
    for (name, line) in head {
        let defect = |message: String| Err(Defect { file: file.to_path_buf(), line: *line, message });
        if GRID.contains(&name.as_str()) {
            return defect(format!("\"{name}\" is the executor's, and differs from slice to slice"));
        }
        let Some(field) = params.iter().find(|(field, ..)| field == name) else {
            return defect(format!("there is no parameter \"{name}\" to specialise"));
        };
        // A constant factor lets a compiler round otherwise; counts and flags only shape loops and branches.
        if field.1 == "f32" {
            return defect(format!("parameter \"{name}\" is f32; only u32 and i32 are specialised"));
        }
        if out.contains(field) {
            return defect(format!("\"{name}\" is named twice"));
        }
        out.push(field.clone());
    }
    Ok(out)
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        let _ = write!(text, ": {e}");
        next = e.source();
    }
    text
}

/// Rust's name and the bytes of an element type that kernels may bind.
fn element(module: &Module, ty: naga::Handle<naga::Type>) -> Option<(&'static str, u32)> {
    let scalar = |s: naga::Scalar| match (s.kind, s.width) {
        (ScalarKind::Float, 4) => Some("f32"),
        (ScalarKind::Uint, 4) => Some("u32"),
        (ScalarKind::Sint, 4) => Some("i32"),
        _ => None,
    };
    match module.types[ty].inner {
        TypeInner::Scalar(s) | TypeInner::Atomic(s) => scalar(s).map(|n| (n, 4)),
        TypeInner::Vector { size: naga::VectorSize::Bi, scalar: s } if scalar(s) == Some("f32") => {
            Some(("num_complex::Complex32", 8))
        }
        TypeInner::Vector { size: naga::VectorSize::Quad, scalar: s } => match scalar(s)? {
            "f32" => Some(("[f32; 4]", 16)),
            "u32" => Some(("[u32; 4]", 16)),
            _ => None,
        },
        _ => None,
    }
}

/// Parses and validates one variant.
fn compile(text: &Text) -> Result<(Module, ModuleInfo), Defect> {
    let module = naga::front::wgsl::parse_str(&text.wgsl).map_err(|e| {
        let line = e.location(&text.wgsl).map_or(1, |l| l.line_number);
        text.defect(line, e.message().to_owned())
    })?;
    // Capabilities::empty() is the portable floor: no f64, no subgroups, no f16, no float atomics, no 64-bit integers.
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).map_err(|e| {
        let line = e.location(&text.wgsl).map_or(1, |l| l.line_number);
        text.defect(line, error_chain(e.as_inner()))
    })?;
    Ok((module, info))
}

/// Proves that the module translates to the three languages that wgpu's backends feed to drivers.
fn translate(module: &Module, info: &ModuleInfo) -> Result<(), String> {
    use naga::back::{hlsl, msl, spv};
    spv::write_vec(module, info, &spv::Options::default(), None).map_err(|e| format!("SPIR-V: {}", error_chain(&e)))?;
    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V5_1, ..Default::default() };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
        .write(module, info, None)
        .map_err(|e| format!("HLSL: {}", error_chain(&e)))?;
    let options = msl::Options { fake_missing_bindings: true, ..Default::default() };
    msl::write_string(module, info, &options, &msl::PipelineOptions::default())
        .map_err(|e| format!("MSL: {}", error_chain(&e)))?;
    Ok(())
}

type Layout = (Vec<Binding>, Vec<(String, &'static str, u32)>, u32);

fn reflect(text: &Text, module: &Module) -> Result<Layout, Defect> {
    let defect = |span: naga::Span, message: String| text.defect(span.location(&text.wgsl).line_number, message);
    let whole = |message: String| text.defect(1, message);
    let mut params = None;
    let mut bindings: BTreeMap<u32, Binding> = BTreeMap::new();
    for (handle, global) in module.global_variables.iter() {
        let span = module.global_variables.get_span(handle);
        let name = global.name.clone().unwrap_or_default();
        let at = global.binding.map(|b| (b.group, b.binding));
        match global.space {
            AddressSpace::Uniform => {
                if at != Some((0, 0)) {
                    return Err(defect(span, "the parameters are the uniform at group 0, binding 0".into()));
                }
                params = Some((global.ty, span));
            }
            AddressSpace::Storage { access } => {
                let Some((0, index @ 1..)) = at else {
                    return Err(defect(span, format!("\"{name}\": storage binds at group 0 from binding 1 on")));
                };
                let TypeInner::Array { base, .. } = module.types[global.ty].inner else {
                    return Err(defect(span, format!("\"{name}\" is not an array")));
                };
                let Some((elem, elem_bytes)) = element(module, base) else {
                    return Err(defect(
                        span,
                        format!("\"{name}\": elements are f32, u32, i32, vec2<f32>, vec4<f32> or vec4<u32>"),
                    ));
                };
                let writes = access.contains(StorageAccess::STORE);
                bindings.insert(index, Binding { name, writes, elem, elem_bytes });
            }
            AddressSpace::WorkGroup | AddressSpace::Private => {}
            other => return Err(defect(span, format!("\"{name}\": address space {other:?} is not portable"))),
        }
    }
    if bindings.len() > MAX_STORAGE_BUFFERS {
        return Err(whole(format!("{} storage buffers; the portable floor has {MAX_STORAGE_BUFFERS}", bindings.len())));
    }
    if bindings.keys().copied().ne(1..=bindings.len() as u32) {
        return Err(whole(format!("storage bindings are {:?}, not 1, 2, …", bindings.keys())));
    }
    let Some((ty, span)) = params else {
        return Err(whole("no parameters: `@group(0) @binding(0) var<uniform> p: Params;`".into()));
    };
    let TypeInner::Struct { ref members, span: bytes } = module.types[ty].inner else {
        return Err(defect(span, "the parameters are a struct".into()));
    };
    if bytes > MAX_PARAMS_BYTES {
        return Err(defect(span, format!("{bytes} bytes of parameters; the portable floor has {MAX_PARAMS_BYTES}")));
    }
    if members.len() < GRID.len() {
        return Err(defect(span, format!("the parameters begin with {GRID:?}")));
    }
    let mut fields = Vec::new();
    for (i, member) in members.iter().enumerate() {
        let name = member.name.clone().unwrap_or_default();
        let Some((elem, 4)) = element(module, member.ty) else {
            return Err(defect(span, format!("parameter \"{name}\" is not f32, u32 or i32")));
        };
        match GRID.get(i) {
            Some(expected) if *expected != name || elem != "u32" => {
                return Err(defect(span, format!("parameter {i} is \"{name}: {elem}\", must be \"{expected}: u32\"")));
            }
            Some(_) => {}
            None => fields.push((name, elem, member.offset - 16)),
        }
    }
    Ok((bindings.into_values().collect(), fields, bytes))
}

/// Reads, proves and reflects one kernel with all its variants.
pub fn kernel(file: &Path, shared: &Path) -> Result<Contract, Defect> {
    let name = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
    let at_top = |message: String| Defect { file: file.to_path_buf(), line: 1, message };
    let source = std::fs::read_to_string(file).map_err(|e| at_top(e.to_string()))?;
    let head = header(file, &source)?;
    let stage = head.stage.ok_or_else(|| at_top(format!("no \"//! stage:\" line; one of {STAGES:?}")))?;

    let mut imports = Vec::new();
    for import in &head.imports {
        let path = shared.join(format!("{import}.wgsl"));
        let text = std::fs::read_to_string(&path).map_err(|e| at_top(format!("import of {}: {e}", path.display())))?;
        imports.push((path, text));
    }

    let mut contract = Contract {
        name,
        doc: head.doc,
        stage,
        bindings: Vec::new(),
        params: Vec::new(),
        params_bytes: 0,
        specialise: Vec::new(),
        variants: Vec::new(),
    };
    let default = (String::new(), BTreeMap::new());
    for (variant, constants) in std::iter::once(&default).chain(&head.variants) {
        let mut text = Text::default();
        text.append(file, &substitute(file, &source, constants)?);
        for (path, shared) in &imports {
            text.append(path, shared);
        }
        let in_variant = |mut d: Defect| {
            if !variant.is_empty() {
                d.message = format!("variant {variant}: {}", d.message);
            }
            d
        };
        let top = |message: String| in_variant(text.defect(1, message));
        let (module, info) = compile(&text).map_err(in_variant)?;
        let [entry] = module.entry_points.as_slice() else {
            return Err(top(format!("{} entry points; one, named \"main\"", module.entry_points.len())));
        };
        if entry.name != "main" || entry.stage != naga::ShaderStage::Compute {
            return Err(top("the entry point is a compute shader named \"main\"".into()));
        }
        if !module.overrides.is_empty() {
            return Err(top("use a \"//! variant:\" line in place of override constants".into()));
        }
        let size = entry.workgroup_size;
        if size.iter().product::<u32>() > MAX_INVOCATIONS {
            return Err(top(format!("workgroup size {size:?} is over {MAX_INVOCATIONS} invocations")));
        }
        let workgroup_bytes = module
            .global_variables
            .iter()
            .filter(|(_, g)| g.space == AddressSpace::WorkGroup)
            .map(|(_, g)| module.types[g.ty].inner.size(module.to_ctx()))
            .sum();
        if workgroup_bytes > MAX_WORKGROUP_BYTES {
            return Err(top(format!(
                "{workgroup_bytes} bytes of workgroup memory; the portable floor has {MAX_WORKGROUP_BYTES}"
            )));
        }
        translate(&module, &info).map_err(top)?;
        // Constants shape tiles and workgroups, never the declarations that the reflection reads.
        (contract.bindings, contract.params, contract.params_bytes) = reflect(&text, &module).map_err(in_variant)?;
        contract.specialise = specialised(file, &head.specialise, &contract.params)?;
        let template = specialisable(&text, &contract.specialise).map_err(in_variant)?;
        contract.variants.push(Variant {
            name: variant.clone(),
            wgsl: text.wgsl,
            template,
            workgroup_size: size,
            workgroup_bytes,
        });
    }
    Ok(contract)
}

/// The template of a text, proved with a 1 for every field; empty where there is none.
fn specialisable(text: &Text, fields: &[(String, &'static str, u32)]) -> Result<String, Defect> {
    if fields.is_empty() {
        return Ok(String::new());
    }
    let Some((template, used)) = template(&text.wgsl, fields) else {
        return Err(text.defect(1, "a name is that of a constant: p_ and a parameter that is specialised".into()));
    };
    if let Some((_, (field, ..))) = used.iter().zip(fields).find(|(used, _)| !**used) {
        return Err(text.defect(1, format!("\"{field}\" is specialised, and nothing says p.{field}")));
    }
    let mut made = Text { wgsl: template.clone(), origin: text.origin.clone() };
    for (field, ty, _) in fields {
        let _ = writeln!(made.wgsl, "const p_{field}: {ty} = {ty}(1);");
    }
    let as_constants = |mut d: Defect| {
        d.message = format!("with constants for parameters: {}", d.message);
        d
    };
    let (module, info) = compile(&made).map_err(as_constants)?;
    translate(&module, &info).map_err(|message| as_constants(text.defect(1, message)))?;
    Ok(template)
}

/// 64-bit FNV-1a: names a shader's text in the pipeline cache and in benchmark records. Not for security.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn static_name(variant: &str) -> String {
    if variant.is_empty() { "KERNEL".into() } else { format!("KERNEL_{}", variant.to_uppercase()) }
}

/// A line of a shader's header as rustdoc shall show it: `y[i]` is no link, outside of backticks.
fn markdown(line: &str) -> String {
    let mut code = false;
    let mut out = String::new();
    for c in line.chars() {
        code ^= c == '`';
        if !code && "[]<*".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The Rust text of the contracts: one module a kernel, and `ALL`.
pub fn contracts(kernels: &[Contract]) -> String {
    contracts_text(kernels).unwrap_or_default()
}

fn contracts_text(kernels: &[Contract]) -> Result<String, std::fmt::Error> {
    const IN_SHADER: &str = "#[allow(missing_docs, reason = \"documented in the shader\")]";
    let mut out = String::new();
    let o = &mut out;
    for k in kernels {
        for line in &k.doc {
            writeln!(o, "#[doc = {:?}]", markdown(line))?;
        }
        writeln!(o, "pub mod {} {{", k.name)?;
        writeln!(o, "    use crate::kernel::{{Access, Binding, Dispatch, Field, Kernel, Tensor}};")?;
        writeln!(o, "    const BINDINGS: &[Binding] = &[")?;
        for b in &k.bindings {
            let access = if b.writes { "ReadWrite" } else { "Read" };
            writeln!(
                o,
                "        Binding {{ name: {:?}, access: Access::{access}, elem_bytes: {} }},",
                b.name, b.elem_bytes
            )?;
        }
        writeln!(o, "    ];")?;
        writeln!(o, "    const FIELDS: &[Field] = &[")?;
        for (name, ty, offset) in &k.specialise {
            let signed = *ty == "i32";
            writeln!(o, "        Field {{ name: {name:?}, offset: {offset}, signed: {signed} }},")?;
        }
        writeln!(o, "    ];")?;
        for v in &k.variants {
            writeln!(o, "    /// The contract of variant {:?}.", v.name)?;
            writeln!(o, "    pub static {}: Kernel = Kernel {{", static_name(&v.name))?;
            writeln!(o, "        name: {:?}, variant: {:?}, file: \"shaders/{}.wgsl\",", k.name, v.name, k.name)?;
            let label = if v.name.is_empty() { k.name.clone() } else { format!("{}.{}", k.name, v.name) };
            writeln!(o, "        label: {label:?},")?;
            writeln!(o, "        wgsl: {:?},", v.wgsl)?;
            writeln!(o, "        workgroup_size: {:?}, workgroup_bytes: {},", v.workgroup_size, v.workgroup_bytes)?;
            writeln!(o, "        bindings: BINDINGS, params_bytes: {}, stage: {},", k.params_bytes, k.stage)?;
            writeln!(o, "        template: {:?}, fields: FIELDS,", v.template)?;
            writeln!(o, "        hash: {:#x},\n    }};", fnv(&v.wgsl))?;
        }
        writeln!(o, "    /// The parameters after the grid, laid out as the shader's struct.")?;
        writeln!(o, "    #[repr(C)]")?;
        writeln!(o, "    #[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]")?;
        writeln!(o, "    {IN_SHADER}\n    pub struct Params {{")?;
        for (name, ty, _) in &k.params {
            writeln!(o, "        pub {name}: {ty},")?;
        }
        writeln!(o, "    }}")?;
        for (name, _, offset) in &k.params {
            writeln!(o, "    const _: () = assert!(std::mem::offset_of!(Params, {name}) == {offset});")?;
        }
        writeln!(o, "    const _: () = assert!(std::mem::size_of::<Params>() + 16 == {});", k.params_bytes)?;
        writeln!(o, "    /// The tensors it binds, in binding order.\n    #[derive(Debug, Clone, Copy)]")?;
        writeln!(o, "    {IN_SHADER}\n    pub struct Args {{")?;
        for b in &k.bindings {
            writeln!(o, "        pub {}: Tensor<{}>,", b.name, b.elem)?;
        }
        writeln!(o, "    }}")?;
        let args: Vec<String> = k.bindings.iter().map(|b| format!("args.{}.erase()", b.name)).collect();
        writeln!(o, "    /// The kernel applied to `args` over `workgroups` workgroups.")?;
        writeln!(o, "    pub fn dispatch(params: Params, args: Args, workgroups: u64) -> Dispatch {{")?;
        writeln!(
            o,
            "        Dispatch::new(&KERNEL, bytemuck::bytes_of(&params), vec![{}], workgroups)",
            args.join(", ")
        )?;
        writeln!(o, "    }}")?;
        writeln!(
            o,
            "    /// The same tensors as the native twin sees them.\n    {IN_SHADER}\n    pub struct Host<'a> {{"
        )?;
        for b in &k.bindings {
            writeln!(o, "        pub {}: &'a {}[{}],", b.name, if b.writes { "mut " } else { "" }, b.elem)?;
        }
        writeln!(o, "    }}\n}}\n")?;
    }
    writeln!(o, "/// Every kernel with every variant, by name.\npub static ALL: &[&crate::kernel::Kernel] = &[")?;
    for k in kernels {
        for v in &k.variants {
            writeln!(o, "    &{}::{},", k.name, static_name(&v.name))?;
        }
    }
    writeln!(o, "];")?;
    Ok(out)
}

/// The Rust text of the table from a kernel's name to its native twin, `device/cpu/NAME.rs`.
pub fn twins(kernels: &[Contract]) -> String {
    let mut out = String::from(
        "/// The twin of `kernel`.\nfn twin(kernel: &Kernel) -> Result<Twin> {\n    let twin: Twin = match kernel.name {\n",
    );
    for k in kernels {
        let mut fields = String::new();
        for (i, b) in k.bindings.iter().enumerate() {
            let _ = write!(fields, "{}: memory.{}({i}), ", b.name, if b.writes { "write" } else { "read" });
        }
        let _ = write!(
            out,
            "        {:?} => |params, memory| {{\n            use crate::kernel::{} as k;\n            \
             let params: k::Params = bytemuck::pod_read_unaligned(params);\n            \
             // SAFETY: whoever runs a twin promises it.\n            \
             let host = unsafe {{ k::Host {{ {fields}}} }};\n            {}::run(&params, host);\n        }},\n",
            k.name, k.name, k.name
        );
    }
    out.push_str(
        "        other => return Err(Error::Internal(format!(\"kernel {other} has no native twin\"))),\n    };\n    Ok(twin)\n}\n",
    );
    out
}

/// The shader files of a folder, in name order so that builds repeat.
pub fn shader_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "wgsl"));
    files.sort();
    Ok(files)
}
