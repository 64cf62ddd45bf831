//! What a sweep runs: read from RON, with every name and size checked where it stands.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::cases::{self, Case};
use crate::device::{Choice, parse_size};
use crate::io::ron_text;
use crate::recording::Capabilities;
use crate::{Error, Result, kernel};

/// Samples from which on times are stated.
pub const LEAST_SAMPLES: usize = 9;
/// Samples, runs before them, and threads at most.
const MOST_SAMPLES: usize = 10_000;
const MOST_WARMUP: usize = 10_000;
const MOST_THREADS: usize = 1024;
/// In the place of a kernel: every case. In the place of an adapter: every device.
pub(super) const EVERY: &str = "all";

/// The sweeps that the program has with it: names and descriptions.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("quick", include_str!("../../assets/sweeps/quick.ron")),
    ("full", include_str!("../../assets/sweeps/full.ron")),
    ("lanes", include_str!("../../assets/sweeps/lanes.ron")),
];

/// A sweep: adapters × kernels × variants × builds × sizes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `all` (the native path and every adapter, GL excepted), `cpu`, `gpu`, or names as `--device` takes them.
    #[serde(default = "every_adapter", deserialize_with = "adapters")]
    pub adapters: Vec<String>,
    /// Which cases.
    #[serde(deserialize_with = "kernels")]
    pub kernels: Vec<Selection>,
    /// How kernels are compiled; the native path has one build.
    #[serde(default = "unchecked", deserialize_with = "builds")]
    pub builds: Vec<Build>,
    /// Runs that are timed; times are stated from 9 on.
    #[serde(default = "least_samples", deserialize_with = "samples")]
    pub samples: usize,
    /// Runs before those.
    #[serde(default = "two", deserialize_with = "warmup")]
    pub warmup: usize,
    /// How far from 1 the ratio of the control points may be.
    #[serde(default = "tenth", deserialize_with = "control_band")]
    pub control_band: f64,
    /// Runs on drivers that fail a known answer too.
    #[serde(default)]
    pub force: bool,
    /// Threads of the native path and of shader compilation; all cores if not given.
    #[serde(default, deserialize_with = "threads")]
    pub threads: Option<usize>,
    /// The most memory to use on each device, such as "2GB".
    #[serde(default, deserialize_with = "memory_budget")]
    pub memory_budget: Option<String>,
}

fn every_adapter() -> Vec<String> {
    vec![EVERY.into()]
}
fn unchecked() -> Vec<Build> {
    vec![Build::Unchecked]
}
fn least_samples() -> usize {
    LEAST_SAMPLES
}
fn two() -> usize {
    2
}
fn tenth() -> f64 {
    0.1
}

/// What must be from `least` to `most`: refused where it stands.
fn between<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: usize,
    most: usize,
    why: &str,
) -> std::result::Result<usize, D::Error> {
    let n = u64::deserialize(deserializer)?;
    match usize::try_from(n) {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(de::Error::custom(format!("{n}; from {least} to {most}{why}"))),
    }
}

fn samples<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<usize, D::Error> {
    between(deserializer, 1, MOST_SAMPLES, ", and at least 9 for times")
}
fn warmup<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<usize, D::Error> {
    between(deserializer, 0, MOST_WARMUP, "")
}

fn threads<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<usize>, D::Error> {
    struct Threads(usize);
    impl<'de> Deserialize<'de> for Threads {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            Ok(Self(between(deserializer, 1, MOST_THREADS, "")?))
        }
    }
    Ok(Option::<Threads>::deserialize(deserializer)?.map(|Threads(n)| n))
}

/// Each once.
fn builds<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Build>, D::Error> {
    let mut builds = Vec::<Build>::deserialize(deserializer)?;
    let mut seen = BTreeSet::new();
    builds.retain(|build| seen.insert(*build));
    if builds.is_empty() { Err(de::Error::custom("none; at least one")) } else { Ok(builds) }
}

fn adapters<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    let known = |name: String| match name.parse::<Choice>() {
        Ok(_) => Ok(name),
        Err(error) => Err(error.to_string()),
    };
    Checked(&known).deserialize(deserializer)
}

fn kernels<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Selection>, D::Error> {
    let kernels = Vec::deserialize(deserializer)?;
    if kernels.is_empty() { Err(de::Error::custom("nothing is selected")) } else { Ok(kernels) }
}

fn control_band<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    let band = f64::deserialize(deserializer)?;
    if band > 0.0 && band < 1.0 { Ok(band) } else { Err(de::Error::custom(format!("{band}; above 0 and below 1"))) }
}

fn memory_budget<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    struct Size(String);
    impl<'de> Deserialize<'de> for Size {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            parse_size(&text).map_err(de::Error::custom)?;
            Ok(Self(text))
        }
    }
    Ok(Option::<Size>::deserialize(deserializer)?.map(|Size(text)| text))
}

/// How kernels are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Build {
    /// As they run elsewhere at first: what cannot be out of bounds is not checked, parameters are read when they run.
    #[serde(rename(serialize = "unchecked"), alias = "unchecked")]
    Unchecked,
    /// With the compiler's bounds checks and loop bounds in every kernel.
    #[serde(rename(serialize = "checked"), alias = "checked")]
    Checked,
    /// As they run elsewhere after some runs: those that opt in with their parameters as constants. Compiled and proved
    /// before anything is timed; a point says how many of its device's kernels that were.
    #[serde(rename(serialize = "specialised"), alias = "specialised")]
    Specialised,
}

impl Build {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Checked => "checked",
            Self::Specialised => "specialised",
        }
    }
}

/// Cases of one kernel, some of their sizes and variants.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    known: Known,
    sizes: Option<Vec<usize>>,
    variants: Option<Vec<String>>,
    smallest: bool,
}

/// What a name stands for.
#[derive(Debug, Clone)]
struct Known(Vec<(&'static Case, Vec<&'static str>)>);

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        let names = |k: &Self| k.0.iter().map(|(c, v)| (c.name, v.clone())).collect::<Vec<_>>();
        names(self) == names(other)
    }
}

impl Known {
    /// The cases of a name: that case, or all, or those that dispatch the kernel.
    fn of(name: &str) -> std::result::Result<Self, String> {
        let whole = |case: &'static Case| (case, case.variants.to_vec());
        if name == EVERY {
            return Ok(Self(cases::ALL.iter().map(whole).collect()));
        }
        if let Some(case) = cases::find(name) {
            return Ok(Self(vec![whole(case)]));
        }
        if kernel::ALL.iter().any(|k| k.label() == name) {
            let dispatches = |case: &Case, variant: &str| {
                let problem = case.problem(&Capabilities::default(), case.sizes[0], variant);
                problem.is_ok_and(|p| p.kernels().iter().any(|k| k.label() == name))
            };
            let of = |case: &'static Case| {
                let variants: Vec<_> = case.variants.iter().copied().filter(|v| dispatches(case, v)).collect();
                (!variants.is_empty()).then_some((case, variants))
            };
            let known: Vec<_> = cases::ALL.iter().filter_map(of).collect();
            if known.is_empty() {
                return Err(format!("no case dispatches the kernel \"{name}\""));
            }
            return Ok(Self(known));
        }
        let names: Vec<_> = cases::ALL.iter().map(|case| case.name).collect();
        let kernels: BTreeSet<_> = kernel::ALL.iter().map(|k| k.label()).filter(|k| !names.contains(k)).collect();
        let kernels: Vec<_> = kernels.into_iter().collect();
        Err(format!(
            "there is no kernel \"{name}\"; known are all, {}, and by the cases that dispatch them {}",
            names.join(", "),
            kernels.join(", ")
        ))
    }

    fn size(&self, size: usize) -> std::result::Result<usize, String> {
        if self.0.iter().any(|(case, _)| case.sizes.contains(&size)) {
            return Ok(size);
        }
        let sizes: BTreeSet<_> = self.0.iter().flat_map(|(case, _)| case.sizes).collect();
        let sizes: Vec<_> = sizes.into_iter().map(usize::to_string).collect();
        Err(format!("there is no size {size}; {} has {} ({})", self.name(), sizes.join(", "), self.unit()))
    }

    fn variant(&self, variant: String) -> std::result::Result<String, String> {
        if self.0.iter().any(|(_, variants)| variants.contains(&&*variant)) {
            return Ok(variant);
        }
        let variants: BTreeSet<_> = self.0.iter().flat_map(|(_, variants)| variants.iter().copied()).collect();
        let variants: Vec<_> = variants.into_iter().collect();
        Err(format!("there is no variant \"{variant}\"; {} has {}", self.name(), variants.join(", ")))
    }

    fn name(&self) -> String {
        match &self.0[..] {
            [(case, _)] => case.name.into(),
            some => format!("one of {} cases", some.len()),
        }
    }

    fn unit(&self) -> &'static str {
        if let [(case, _)] = &self.0[..] { case.unit } else { "each its own" }
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Kernel,
    Sizes,
    Variants,
    Smallest,
}

/// A list of which every element is checked where it stands.
struct Checked<'a, T>(&'a dyn Fn(T) -> std::result::Result<T, String>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Checked<'_, T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Checked<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push((self.0)(element).map_err(de::Error::custom)?);
        }
        if elements.is_empty() { Err(de::Error::custom("an empty list; at least one")) } else { Ok(elements) }
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Selection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(kernel: ..., sizes: [...], variants: [...])")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Selection, A::Error> {
        let mut selection: Option<Selection> = None;
        while let Some(field) = map.next_key()? {
            let first = || de::Error::custom("the field \"kernel\" must come first");
            match (field, &mut selection) {
                (Field::Kernel, Some(_)) => return Err(de::Error::duplicate_field("kernel")),
                (Field::Kernel, none) => {
                    let known = Known::of(&map.next_value::<String>()?).map_err(de::Error::custom)?;
                    *none = Some(Selection { known, sizes: None, variants: None, smallest: false });
                }
                (Field::Sizes, selection) => {
                    let s = selection.as_mut().ok_or_else(first)?;
                    s.sizes = Some(map.next_value_seed(Checked(&|size| s.known.size(size)))?);
                }
                (Field::Variants, selection) => {
                    let s = selection.as_mut().ok_or_else(first)?;
                    s.variants = Some(map.next_value_seed(Checked(&|variant| s.known.variant(variant)))?);
                }
                (Field::Smallest, selection) => selection.as_mut().ok_or_else(first)?.smallest = map.next_value()?,
            }
        }
        selection.ok_or_else(|| de::Error::missing_field("kernel"))
    }
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_struct("Selection", &["kernel", "sizes", "variants", "smallest"], Fields)
    }
}

/// A case in one variant and size.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// The case.
    pub case: &'static Case,
    /// One of its variants.
    pub variant: &'static str,
    /// One of its sizes.
    pub size: usize,
}

impl Job {
    /// `case variant size`.
    pub fn name(&self) -> String {
        format!("{} {} {}", self.case.name, self.variant, self.size)
    }
}

impl Config {
    /// Reads a sweep's description.
    ///
    /// # Errors
    /// `File` with line and column for anything that is missing, unknown or of the wrong type: with the kernels, sizes or
    /// variants that there are.
    pub fn from_ron(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        Self::parse(&text).map_err(|message| Error::file(path, message))
    }

    /// The sweep of a text, or what is wrong with it and where.
    ///
    /// # Errors
    /// The text, with line and column.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let config: Self = ron_text::parse(text)?;
        if config.jobs().is_empty() {
            return Err("kernels: nothing is selected, for no kernel has both such a size and such a variant".into());
        }
        Ok(config)
    }

    /// One of [`BUILT_IN`].
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Self::parse(text).ok()
    }

    /// What is run on every adapter, each once, in the order of the selections.
    pub fn jobs(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = Vec::new();
        let mut seen = BTreeSet::new();
        for s in &self.kernels {
            for (case, variants) in &s.known.0 {
                for variant in variants.iter().filter(|v| s.variants.as_ref().is_none_or(|l| l.iter().any(|x| x == *v)))
                {
                    let sizes = if s.smallest { &case.sizes[..1] } else { case.sizes };
                    for size in sizes.iter().filter(|n| s.sizes.as_ref().is_none_or(|l| l.contains(n))) {
                        if seen.insert((case.name, *variant, *size)) {
                            jobs.push(Job { case, variant, size: *size });
                        }
                    }
                }
            }
        }
        jobs
    }
}
