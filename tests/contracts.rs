//! The build step against broken shaders, and the house rule that a kernel has a shader, a twin and a test.
//!
//! The tests run the very program that cargo ran to build this crate, in a folder of their own.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use spikewave::kernel;

/// What the build step made of a `shaders` folder.
struct Built {
    ok: bool,
    /// Standard error: a line a defect.
    errors: String,
    /// The generated contracts; `None` where it left none.
    kernels: Option<String>,
    twins: Option<String>,
}

/// Runs the build step over these files, given by their path below `shaders`. Contracts of an earlier build lie there.
fn build(files: &[(&str, &str)]) -> Built {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir_all(root.join("shaders/shared")).unwrap();
    for (name, text) in files {
        std::fs::write(root.join("shaders").join(name), text).unwrap();
    }
    for stale in ["kernels.rs", "twins.rs"] {
        std::fs::write(root.join(stale), "stale").unwrap();
    }
    let run = Command::new(env!("SPIKEWAVE_BUILD_SCRIPT"))
        .current_dir(root)
        .env("OUT_DIR", root)
        .output()
        .expect("it starts");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).ok();
    Built {
        ok: run.status.success(),
        errors: String::from_utf8(run.stderr).unwrap(),
        kernels: read("kernels.rs"),
        twins: read("twins.rs"),
    }
}

/// Line 3 declares a constant, line 11 the tensors, line 14 the entry point, line 16 the body's statement.
const GOOD: &str = "\
//! Scales: y[i] = `x[i]` · factor.
//! stage: dense
const ITEMS: u32 = 64u;
struct Params {
    wg_base: u32, wg_count: u32, wg_row: u32, zero: u32,
    n: u32,
    factor: f32,
    shift: i32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    y[id.x] = x[id.x].x * p.factor;
}
";

/// The defect of `scale.wgsl`: `shaders/FILE:LINE: message`, and that nothing usable is left behind.
#[track_caller]
fn defect(files: &[(&str, &str)], at: &str, cause: &str) {
    let built = build(files);
    assert!(!built.ok, "it must fail the build");
    assert_eq!((built.kernels, built.twins), (None, None), "nothing stale may be left");
    let line = built.errors.lines().next().unwrap_or_default();
    let path = Path::new("shaders").join(at);
    let rest = line.strip_prefix(&format!("{}: ", path.display()));
    assert!(
        rest.is_some_and(|message| !cause.is_empty() && message.contains(cause)),
        "expected {at} and \"{cause}\" in:\n{}",
        built.errors
    );
}

/// The same for the good shader with one text replaced.
#[track_caller]
fn broken(from: &str, to: &str, line: u32, cause: &str) {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    defect(&[("scale.wgsl", &GOOD.replace(from, to))], &format!("scale.wgsl:{line}"), cause);
}

#[test]
fn a_good_shader_gives_its_contract() {
    let variant = GOOD.replace("//! stage", "//! variant: wide ITEMS=128u\n//! stage");
    let built = build(&[("scale.wgsl", &variant)]);
    assert!(built.ok, "{}", built.errors);
    assert_eq!(built.errors, "");
    let text = built.kernels.unwrap();
    for part in [
        r#"#[doc = "Scales: y\\[i\\] = `x[i]` · factor."]"#,
        "pub mod scale {",
        r#"Binding { name: "x", access: Access::Read, elem_bytes: 8 }"#,
        r#"Binding { name: "y", access: Access::ReadWrite, elem_bytes: 4 }"#,
        r#"name: "scale", variant: "", file: "shaders/scale.wgsl""#,
        r#"name: "scale", variant: "wide", file: "shaders/scale.wgsl""#,
        "workgroup_size: [64, 1, 1], workgroup_bytes: 0",
        // A uniform struct is as long as a multiple of 16 bytes only if it must be: 7 words are 28 bytes.
        "params_bytes: 28, stage: 1",
        "pub n: u32,\n        pub factor: f32,\n        pub shift: i32,",
        "offset_of!(Params, n) == 0",
        "offset_of!(Params, factor) == 4",
        "offset_of!(Params, shift) == 8",
        "size_of::<Params>() + 16 == 28",
        "pub x: Tensor<num_complex::Complex32>,\n        pub y: Tensor<f32>,",
        "pub x: &'a [num_complex::Complex32],\n        pub y: &'a mut [f32],",
        "&scale::KERNEL,\n    &scale::KERNEL_WIDE,",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(text.contains("const ITEMS: u32 = 64u;") && text.contains("const ITEMS: u32 = 128u;"), "{text}");
    assert!(built.twins.unwrap().contains("scale::run(&params, host)"));
}

#[test]
fn the_shader_that_contributors_are_shown_is_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let (_, rest) = page.split_once("```wgsl\n").expect("it shows a shader");
    let (shader, _) = rest.split_once("```").expect("the shader ends");
    let shared = |name: &str| std::fs::read_to_string(root.join("shaders/shared").join(name)).unwrap();
    let (grid, pin) = (shared("grid.wgsl"), shared("pin.wgsl"));
    let built = build(&[("scale.wgsl", shader), ("shared/grid.wgsl", &grid), ("shared/pin.wgsl", &pin)]);
    assert!(built.ok, "{}", built.errors);
    assert!(built.kernels.unwrap().contains("pub static KERNEL_WIDE"));
}

#[test]
fn the_same_shaders_give_the_same_contracts() {
    let files = [("b.wgsl", GOOD), ("a.wgsl", GOOD)];
    let (first, second) = (build(&files), build(&files));
    assert!(first.ok && first.kernels == second.kernels && first.twins == second.twins);
    assert!(first.kernels.unwrap().contains("&a::KERNEL,\n    &b::KERNEL,"), "by name");
}

#[test]
fn text_that_does_not_parse() {
    broken("y[id.x] =", "y[id.x", 16, "expected");
    broken("p.factor", "p.faktor", 16, "faktor");
    broken("x[id.x].x *", "unknown(x[id.x].x) *", 16, "unknown");
}

#[test]
fn types_that_do_not_fit() {
    broken("x[id.x].x *", "x[id.x] *", 16, "type");
    broken("* p.factor", "* p.shift", 16, "automatic conversions");
    broken("y[id.x] = x[id.x].x", "x[id.x].x = x[id.x].x", 16, "valid destination for a store");
}

#[test]
fn a_defect_of_an_import_names_the_imported_file() {
    let importing = GOOD.replace("//! stage", "//! import: good bad\n//! stage");
    let good = "fn one() -> f32 {\n    return 1.0;\n}\n";
    let bad = "// shared\nfn two() -> f32 {\n    return 2u;\n}\n";
    let files = [("scale.wgsl", importing.as_str()), ("shared/good.wgsl", good), ("shared/bad.wgsl", bad)];
    defect(&files, "shared/bad.wgsl:2", "'two' is invalid");
    defect(&[files[0], files[1], ("shared/bad.wgsl", "// shared\n\nfn two( {}\n")], "shared/bad.wgsl:3", "expected");
    defect(&files[..2], "scale.wgsl:1", "bad.wgsl");
}

#[test]
fn headers() {
    broken("//! stage: dense\n", "", 1, "stage");
    broken("stage: dense", "stage: sparse", 2, "unknown stage \"sparse\"");
    broken("//! stage", "//! variant: wide ITEM=128u\n//! stage", 1, "ITEM");
    broken("//! stage", "//! variant: wide ITEMS\n//! stage", 2, "NAME=VALUE");
    broken("//! stage", "//! variant:\n//! stage", 2, "name");
    broken("//! stage", "//! variant: wide ITEMS=128.5u\n//! stage", 4, "variant wide");
}

#[test]
fn parameters_that_are_specialised() {
    let with = |names: &str| format!("//! specialise: {names}\n//! stage");
    broken("//! stage", &with("count"), 2, "no parameter \"count\"");
    broken("//! stage", &with("shift, "), 2, "no parameter \"\"");
    for executors in ["wg_base", "wg_count", "wg_row", "zero"] {
        broken("//! stage", &with(executors), 2, "the executor's");
    }
    broken("//! stage", &with("factor"), 2, "\"factor\" is f32");
    broken("//! stage", &with("n, shift, n"), 2, "\"n\" is named twice");
    broken("//! stage", &with("n"), 1, "nothing says p.n");
    let using =
        GOOD.replace("//! stage", &with("n, shift")).replace("y[id.x] =", "if (id.x >= p.n) { return; } y[id.x] =");
    let line = "y[id.x + u32(p.shift)] =";
    let good = using.replace("y[id.x] =", line);
    let built = build(&[("scale.wgsl", &good)]);
    assert!(built.ok, "{}", built.errors);
    let text = built.kernels.unwrap();
    for part in [
        r#"Field { name: "n", offset: 0, signed: false }"#,
        r#"Field { name: "shift", offset: 8, signed: true }"#,
        "if (id.x >= p_n) { return; } y[id.x + u32(p_shift)] = x[id.x].x * p.factor;",
        "if (id.x >= p.n) { return; } y[id.x + u32(p.shift)] = x[id.x].x * p.factor;",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    let taken = good.replace("const ITEMS", "const p_n: u32 = 1u; const ITEMS");
    defect(&[("scale.wgsl", &taken)], "scale.wgsl:1", "is that of a constant");
    // Valid with a parameter, not with a constant.
    let folded = good.replace("y[id.x + u32(p.shift)] =", "y[id.x + u32(p.shift)] = f32(7u / (p.n - 1u)) *");
    defect(&[("scale.wgsl", &folded)], "scale.wgsl:17", "with constants for parameters");
}

/// Fields of the parameters that a module reads, by index.
fn fields_read(module: &naga::Module) -> BTreeSet<u32> {
    use naga::Expression as E;
    let uniform =
        |h: naga::Handle<naga::GlobalVariable>| module.global_variables[h].space == naga::AddressSpace::Uniform;
    let functions = module.functions.iter().map(|(_, f)| f);
    let all = functions.chain(module.entry_points.iter().map(|entry| &entry.function));
    let mut found = BTreeSet::new();
    for function in all {
        for (_, expression) in function.expressions.iter() {
            match expression {
                E::AccessIndex { base, index } => {
                    if matches!(function.expressions[*base], E::GlobalVariable(h) if uniform(h)) {
                        found.insert(*index);
                    }
                }
                E::Load { pointer } => {
                    let whole = matches!(function.expressions[*pointer], E::GlobalVariable(h) if uniform(h));
                    assert!(!whole, "the parameters are read as a whole");
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn specialised_texts_are_valid_and_differ_in_their_constants_only() {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let parsed = |text: &str| {
        let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
        Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).unwrap();
        module
    };
    let mut opted_in = 0;
    for kernel in kernel::ALL.iter().filter(|k| !k.fields.is_empty()) {
        opted_in += 1;
        let label = kernel.label();
        let values: Vec<u32> = (1..=kernel.fields.len() as u32).map(|i| 2 * i).collect();
        let text = kernel.specialised(&values);
        // The text: constants at the end, and their names in place of parameters.
        let (body, constants) = text.split_at(kernel.template.len());
        for ((line, field), value) in constants.lines().zip(kernel.fields).zip(&values) {
            let ty = if field.signed { "i32" } else { "u32" };
            assert_eq!(line, format!("const p_{}: {ty} = {ty}({value});", field.name), "{label}");
        }
        assert_eq!(constants.lines().count(), kernel.fields.len());
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let mut back = String::new();
        for piece in body.split_inclusive(|c| !word(c)) {
            let name = piece.trim_end_matches(|c| !word(c));
            let field = kernel.fields.iter().find(|f| name.strip_prefix("p_") == Some(f.name));
            back += &field.map_or(piece.to_owned(), |f| piece.replacen(name, &format!("p.{}", f.name), 1));
        }
        assert!(back == kernel.wgsl, "{label}: it differs elsewhere");
        // What naga makes of it: the same bindings and entry point, all other parameters still read, these never.
        let (generic, special) = (parsed(kernel.wgsl), parsed(&text));
        let (before, after) = (fields_read(&generic), fields_read(&special));
        let constants: BTreeSet<u32> = kernel.fields.iter().map(|f| f.offset / 4 + 4).collect();
        assert!(constants.is_subset(&before) && constants.is_disjoint(&after), "{label}: {after:?}");
        assert_eq!(before.difference(&constants).copied().collect::<BTreeSet<_>>(), after, "{label}");
        assert!([0, 1, 2].iter().all(|grid| after.contains(grid)), "{label}: the executor's stay");
        let globals = |m: &naga::Module| -> Vec<String> {
            let one = |(_, g): (_, &naga::GlobalVariable)| {
                format!("{:?} {:?} {:?} {:?}", g.name, g.space, g.binding, m.types[g.ty].name)
            };
            m.global_variables.iter().map(one).collect()
        };
        assert_eq!(globals(&generic), globals(&special), "{label}");
        let size = |m: &naga::Module| m.entry_points[0].workgroup_size;
        assert_eq!(size(&generic), size(&special), "{label}");
    }
    assert!(opted_in >= 5, "{opted_in}");
}

#[test]
fn entry_points() {
    let from = "@compute @workgroup_size(64)\nfn main(@builtin(global_invocation_id) id: vec3<u32>)";
    broken(from, "fn main(id: vec3<u32>)", 1, "0 entry points");
    broken("fn main", "fn begin", 1, "\"main\"");
    broken("@compute", "@compute @workgroup_size(1) fn other() {}\n@compute", 1, "2 entry points");
}

#[test]
fn the_portable_floor() {
    let more: String =
        (3..=9).map(|i| format!("@group(0) @binding({i}) var<storage, read_write> y{i}: array<f32>;\n")).collect();
    broken("\n\n@compute", &format!("\n{more}@compute"), 1, "9 storage buffers");
    broken("@workgroup_size(64)", "@workgroup_size(257)", 1, "256 invocations");
    broken("@workgroup_size(64)", "@workgroup_size(16, 16, 2)", 1, "256 invocations");
    let group = "var<workgroup> w: array<f32, 4097>;\n@compute";
    let using = GOOD.replace("@compute", group).replace("y[id.x] =", "w[0] = 1.0; y[id.x] = w[0] +");
    defect(&[("scale.wgsl", &using)], "scale.wgsl:1", "16388 bytes of workgroup memory");
    let fields: String = (0..11).map(|i| format!("    f{i}: u32,\n")).collect();
    broken("    n: u32,\n", &fields, 20, "68 bytes of parameters");
}

#[test]
fn what_not_every_gpu_has() {
    for (body, cause) in [
        ("let d = 1.5lf; y[id.x] = f32(d) +", "f64"),
        ("y[id.x] = subgroupAdd(p.factor) +", "SUBGROUP"),
        ("let h = f16(p.factor); y[id.x] = f32(h) +", "f16"),
    ] {
        let text = GOOD.replace("y[id.x] =", body);
        defect(&[("scale.wgsl", &text)], "scale.wgsl:16", cause);
    }
}

#[test]
fn bindings() {
    broken("@binding(2)", "@binding(3)", 1, "[1, 3]");
    broken("@group(0) @binding(2)", "@group(1) @binding(2)", 12, "group 0");
    broken("@binding(0)", "@binding(7)", 10, "binding 0");
    broken("x: array<vec2<f32>>", "x: array<vec3<f32>>", 11, "elements are f32");
    broken("\n\n@compute", "\n@group(0) @binding(3) var<storage> z: u32;\n@compute", 13, "\"z\" is not an array");
    broken("@group(0) @binding(0) var<uniform> p", "var<private> p", 1, "no parameters");
}

#[test]
fn the_grid_comes_first() {
    broken("wg_base: u32, wg_count: u32", "wg_count: u32, wg_base: u32", 10, "must be \"wg_base: u32\"");
    broken("zero: u32", "zero: f32", 10, "must be \"zero: u32\"");
    broken("    shift: i32,\n", "    shift: vec2<f32>,\n", 10, "\"shift\"");
}

#[test]
fn every_defect_is_told_and_not_only_the_first() {
    let bad = GOOD.replace("p.factor", "p.faktor");
    let built = build(&[("a.wgsl", &bad), ("b.wgsl", GOOD), ("c.wgsl", &bad)]);
    assert!(!built.ok);
    for file in ["a.wgsl:16", "c.wgsl:16"] {
        assert!(built.errors.contains(file), "{}", built.errors);
    }
    assert!(!built.errors.contains("b.wgsl"), "{}", built.errors);
}

/// All Rust files below a folder.
fn rust_files(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("contracts.rs") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_kernel_has_a_shader_a_twin_and_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names: BTreeSet<&str> = kernel::ALL.iter().map(|k| k.name).collect();
    let mut tests = Vec::new();
    rust_files(&root.join("tests"), &mut tests);
    let words: BTreeSet<&str> =
        tests.iter().flat_map(|t| t.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))).collect();
    let lacking = |folder: &str, ending: &str| -> Vec<&str> {
        let has = |name: &&str| root.join(folder).join(format!("{name}.{ending}")).is_file();
        names.iter().copied().filter(|name| !has(name)).collect()
    };
    assert_eq!(lacking("shaders", "wgsl"), [""; 0], "kernels without a shader");
    assert_eq!(lacking("src/device/cpu", "rs"), [""; 0], "kernels without a twin");
    let untested: Vec<&str> = names.iter().copied().filter(|name| !words.contains(name)).collect();
    assert_eq!(untested, [""; 0], "kernels that no file in tests/ names");
    let shaders = std::fs::read_dir(root.join("shaders")).unwrap().map(|e| e.unwrap().path());
    let files: BTreeSet<String> = shaders
        .filter(|p| p.extension().is_some_and(|e| e == "wgsl"))
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(files.iter().map(String::as_str).collect::<BTreeSet<_>>(), names, "shaders and kernels");
}
