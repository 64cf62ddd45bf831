//! Detector strain and template waveforms, in the HDF5 layouts of the Gravitational Wave Open Science Center.

use crate::io::hdf5::Reader;
use crate::io::write_atomically;
use crate::{Error, Result};
use hdf5_pure::{AttrValue, FileBuilder, GroupBuilder};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// The flag that says whether there are data at all.
const DATA: &str = "DATA";
/// No file is from after this GPS time (the year 2296), up to which f64 resolves a microsecond.
const LAST_GPS: f64 = 1e10;

/// Calibrated strain of one detector, with the masks that say when it can be trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Strain {
    /// The detector's short name: `H1`, `L1`, `V1`, …
    pub detector: String,
    /// GPS time of the first sample, in seconds.
    pub gps_start: f64,
    /// Samples per second.
    pub sample_rate_hz: f64,
    /// The strain h(t), dimensionless; NaN where there is none. Never all NaN.
    pub values: Vec<f64>,
    /// Data quality: a set bit means that the data pass.
    pub quality: Mask,
    /// Hardware injections: a set bit means that there is none of that kind.
    pub injections: Option<Mask>,
}

/// A bit mask at a low rate, with a name for every bit.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    /// Short names; the index is the bit.
    pub names: Vec<String>,
    /// Descriptions in words, one for every name.
    pub descriptions: Vec<String>,
    /// The mask, one word every `seconds_per_word`, beginning with the first sample of the strain.
    pub words: Vec<u32>,
    /// Seconds that a word stands for.
    pub seconds_per_word: f64,
}

impl Mask {
    /// The bit called `name`.
    pub fn bit(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// The fraction of time in which `bit` is set, 0 to 1.
    pub fn fraction(&self, bit: usize) -> f64 {
        self.words.iter().filter(|&&word| bit < 32 && word >> bit & 1 == 1).count() as f64 / self.words.len() as f64
    }
}

/// A stretch of consecutive samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// Index of the first sample.
    pub start: usize,
    /// Index after the last sample.
    pub end: usize,
    /// GPS time of the first sample, in seconds.
    pub gps_start: f64,
    /// GPS time of the end, which is one sample interval after the last sample.
    pub gps_end: f64,
}

impl Segment {
    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.end - self.start
    }

    /// The segment's part of an array that is aligned with the strain.
    pub fn of<'a, T>(&self, values: &'a [T]) -> &'a [T] {
        &values[self.start..self.end]
    }
}

impl Strain {
    /// Reads a strain file.
    ///
    /// Errors: [`Error::File`] if the file is missing, damaged (the message names the dataset and the chunk whose
    /// checksum is wrong), contradicts itself, or holds no finite sample. No data of a file with a wrong checksum are
    /// returned. The old file format that most strain files use has checksums over the samples and none over names and
    /// attributes; for those, everything that is said twice (start, length, spacing, duration) must agree.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_reader(&Reader::open(path)?)
    }

    /// Reads a strain file that is already in memory; `path` is what errors call it.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        Self::from_reader(&Reader::from_bytes(path, bytes)?)
    }

    fn from_reader(file: &Reader) -> Result<Self> {
        if !file.has("", "strain")? {
            return Err(file.error("is not a strain file: it has no group /strain"));
        }
        let wrong = |what: String| file.error(format_args!("dataset strain/Strain: {what}"));
        let attributes = file.attributes("strain/Strain")?;
        let spacing = number(&attributes, "Xspacing").ok_or_else(|| wrong("has no number Xspacing".into()))?;
        if !(1e-9..1e9).contains(&spacing) {
            return Err(wrong(format!("a sample spacing of {spacing} s is not possible")));
        }
        let gps_start = file.integer("meta/GPSstart")? as f64;
        if !(0.0..LAST_GPS).contains(&gps_start) {
            return Err(file.error(format_args!("dataset meta/GPSstart: {gps_start} s is not a GPS time")));
        }
        if let Some(start) = number(&attributes, "Xstart").filter(|&start| start != gps_start) {
            return Err(wrong(format!("starts at GPS {start} s by Xstart and at {gps_start} s by meta/GPSstart")));
        }

        let strain = file.array::<f64>("strain/Strain")?;
        let values = strain.values;
        if strain.shape.len() != 1 {
            return Err(wrong(format!("has the shape {:?} where one row of samples was expected", strain.shape)));
        }
        if values.is_empty() {
            return Err(wrong("holds no samples".into()));
        }
        if let Some(n) = number(&attributes, "Npoints").filter(|&n| n != values.len() as f64) {
            return Err(wrong(format!("holds {} samples, and its attribute Npoints says {n}", values.len())));
        }
        if !values.iter().any(|v| v.is_finite()) {
            return Err(wrong("holds no finite sample: there are no data in this file".into()));
        }
        let rate = 1.0 / spacing;
        let sample_rate_hz = if (rate - rate.round()).abs() < 1e-6 * rate { rate.round() } else { rate };
        let seconds = values.len() as f64 / sample_rate_hz;
        if file.has("meta", "Duration")? {
            let duration = file.integer("meta/Duration")? as f64;
            if (duration - seconds).abs() > 1e-6 * seconds {
                return Err(wrong(format!("lasts {seconds} s, and meta/Duration says {duration} s")));
            }
        }
        let detector = detector(file)?;
        let quality = mask(file, "quality/simple", "DQ", seconds, gps_start)?;
        let injections = match file.has("quality", "injections")? {
            true => Some(mask(file, "quality/injections", "Inj", seconds, gps_start)?),
            false => None,
        };
        Ok(Self { detector, gps_start, sample_rate_hz, values, quality, injections })
    }

    /// The length in seconds.
    pub fn duration_s(&self) -> f64 {
        self.values.len() as f64 / self.sample_rate_hz
    }

    /// The stretches in which every sample is finite and `flag` is set.
    ///
    /// `flag` is a name of a data-quality or injection bit. `None` takes `DATA` where the file has it, and looks at the
    /// samples alone where not. Errors: [`Error::InvalidArgument`], which lists the names, if the file has no such flag.
    pub fn segments(&self, flag: Option<&str>) -> Result<Vec<Segment>> {
        let masks = || std::iter::once(&self.quality).chain(&self.injections);
        let find = |name: &str| masks().find_map(|mask| Some((mask, mask.bit(name)?)));
        let required = match flag {
            None => find(DATA),
            Some(name) => Some(find(name).ok_or_else(|| {
                let known: Vec<&str> = masks().flat_map(|mask| mask.names.iter().map(String::as_str)).collect();
                Error::invalid("flag", format!("\"{name}\" is not in this file, which has {}", known.join(", ")))
            })?),
        };
        Ok(self.runs(|i, value| {
            value.is_finite()
                && required.is_none_or(|(mask, bit)| {
                    let word = (i as f64 / (self.sample_rate_hz * mask.seconds_per_word)) as usize;
                    mask.words.get(word).is_some_and(|word| word >> bit & 1 == 1)
                })
        }))
    }

    /// The stretches without data: samples that are not finite.
    pub fn gaps(&self) -> Vec<Segment> {
        self.runs(|_, value| !value.is_finite())
    }

    /// The longest runs of samples that satisfy `accept(index, value)`.
    fn runs(&self, accept: impl Fn(usize, f64) -> bool) -> Vec<Segment> {
        let mut runs = Vec::new();
        let mut start = None;
        for i in 0..=self.values.len() {
            match (start, self.values.get(i).is_some_and(|&value| accept(i, value))) {
                (None, true) => start = Some(i),
                (Some(begin), false) => {
                    runs.push(self.segment(begin, i));
                    start = None;
                }
                _ => {}
            }
        }
        runs
    }

    /// Samples `start` to `end` as a segment.
    fn segment(&self, start: usize, end: usize) -> Segment {
        let gps = |i: usize| self.gps_start + i as f64 / self.sample_rate_hz;
        Segment { start, end, gps_start: gps(start), gps_end: gps(end) }
    }

    /// Writes the strain in the layout that [`Strain::read`] reads, compressed and with checksums, whole or not at all.
    ///
    /// Errors: [`Error::InvalidArgument`] if start and duration are not whole seconds, as the layout demands, the detector
    /// has no name of a letter and a digit, or a mask does not fit; [`Error::File`] if the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let seconds = self.duration_s();
        if self.values.is_empty() || self.gps_start.fract() != 0.0 || seconds.fract() != 0.0 {
            return Err(Error::invalid(
                "strain",
                format!("a start of {} s and a length of {seconds} s are not whole seconds", self.gps_start),
            ));
        }
        if !is_detector(&self.detector) {
            let why = format!("{:?} is not a detector such as H1, L1 or V1", self.detector);
            return Err(Error::invalid("strain", why));
        }
        let mut builder = FileBuilder::new();
        let mut meta = builder.create_group("meta");
        let text = |group: &mut GroupBuilder, name: &str, value: &str| {
            group.create_dataset(name).with_vlen_strings(&[value]).with_shape(&[]);
        };
        text(&mut meta, "Description", "Strain data time series");
        text(&mut meta, "Detector", &self.detector);
        text(&mut meta, "Observatory", &self.detector[..1]);
        text(&mut meta, "Type", "StrainTimeSeries");
        meta.create_dataset("GPSstart").with_i64_data(&[self.gps_start as i64]).with_shape(&[]);
        meta.create_dataset("Duration").with_i64_data(&[seconds as i64]).with_shape(&[]);
        builder.add_group(meta.finish());

        let mut group = builder.create_group("strain");
        let dataset = group.create_dataset("Strain").with_f64_data(&self.values);
        dataset.with_chunks(&[(self.values.len() as u64).min(2048)]).with_shuffle().with_deflate(4).with_fletcher32();
        self.axis(dataset, self.values.len(), 1.0 / self.sample_rate_hz, "Strain").set_attr("Yunits", string(""));
        builder.add_group(group.finish());

        let mut quality = builder.create_group("quality");
        for (name, prefix, mask) in std::iter::once(("simple", "DQ", Some(&self.quality))).chain([(
            "injections",
            "Inj",
            self.injections.as_ref(),
        )]) {
            let Some(mask) = mask else { continue };
            let fits = (mask.words.len() as f64 * mask.seconds_per_word - seconds).abs() < 1e-6;
            if !fits || mask.names.is_empty() || mask.names.len() > 32 || mask.names.len() != mask.descriptions.len() {
                let why = "needs a word for every interval, and 1 to 32 names with as many descriptions";
                return Err(Error::invalid("mask", format!("quality/{name} {why}")));
            }
            let refuse = |e: hdf5_pure::FormatError| Error::invalid("mask", e.to_string());
            let mut group = quality.create_group(name);
            let dataset = group.create_dataset(&format!("{prefix}mask")).with_u32_data(&mask.words);
            dataset.with_chunks(&[mask.words.len() as u64]).with_deflate(4).with_fletcher32();
            self.axis(dataset, mask.words.len(), mask.seconds_per_word, &format!("{prefix}mask"))
                .set_attr("Bits", AttrValue::I64(mask.names.len() as i64));
            for (list, texts) in [("Shortnames", &mask.names), ("Descriptions", &mask.descriptions)] {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                group.create_dataset(&format!("{prefix}{list}")).with_strings(&texts).map_err(refuse)?;
            }
            quality.add_group(group.finish());
        }
        builder.add_group(quality.finish());

        let bytes = builder.finish().map_err(|e| Error::Internal(format!("strain could not be encoded: {e}")))?;
        write_atomically(path, |file| file.write_all(&bytes))
    }

    /// The attributes that describe a time axis.
    fn axis<'a>(
        &self,
        dataset: &'a mut hdf5_pure::DatasetBuilder,
        points: usize,
        spacing: f64,
        label: &str,
    ) -> &'a mut hdf5_pure::DatasetBuilder {
        dataset
            .set_attr("Npoints", AttrValue::I64(points as i64))
            .set_attr("Xstart", AttrValue::I64(self.gps_start as i64))
            .set_attr("Xspacing", AttrValue::F64(spacing))
            .set_attr("Xunits", string("second"))
            .set_attr("Xlabel", string("GPS time"))
            .set_attr("Ylabel", string(label))
    }
}

/// A template waveform as the tutorials of the Gravitational Wave Open Science Center ship it.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateFile {
    /// Plus polarisation of the strain at 1 Mpc, merger in the middle.
    pub plus: Vec<f64>,
    /// Cross polarisation, as long as `plus`.
    pub cross: Vec<f64>,
    /// Samples per second.
    pub sample_rate_hz: f64,
    /// Component masses in the detector frame, in solar masses.
    pub masses: [f64; 2],
    /// Dimensionless spins along the orbital angular momentum.
    pub spins: [f64; 2],
    /// Frequency at which the waveform begins, in Hz, where the file says so.
    pub f_min_hz: Option<f64>,
    /// The waveform model, where the file says so.
    pub approximant: Option<String>,
    /// The event that the template belongs to, where the file says so.
    pub event: Option<String>,
}

impl TemplateFile {
    /// Reads a template file: `/template` f32 of shape (2, n), plus and cross, and the attributes of `/meta`.
    ///
    /// Errors: [`Error::File`] if the file is missing, damaged, not a template, or holds a sample that is not finite.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_reader(&Reader::open(path)?)
    }

    /// Reads a template file that is already in memory; `path` is what errors call it.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        Self::from_reader(&Reader::from_bytes(path, bytes)?)
    }

    fn from_reader(file: &Reader) -> Result<Self> {
        if !file.has("", "template")? || !file.has("", "meta")? {
            return Err(file.error("is not a template file: it has no dataset /template or no group /meta"));
        }
        let template = file.array::<f32>("template")?;
        let wrong = |what: String| file.error(format_args!("dataset template: {what}"));
        let n = match template.shape[..] {
            [2, n] if n > 0 => n as usize,
            _ => return Err(wrong(format!("has the shape {:?} where (2, samples) was expected", template.shape))),
        };
        if let Some(i) = template.values.iter().position(|v| !v.is_finite()) {
            return Err(wrong(format!("sample {} of row {} is not finite", i % n, i / n)));
        }
        let values: Vec<f64> = template.values.iter().map(|&v| f64::from(v)).collect();
        let (plus, cross) = values.split_at(n);
        if [plus, cross].iter().any(|row| row.iter().all(|&v| v == 0.0)) {
            return Err(wrong("a row of zeros is not a waveform".into()));
        }

        let attributes = file.group_attributes("meta")?;
        let required = |name: &str| {
            number(&attributes, name)
                .filter(|v| v.is_finite())
                .ok_or_else(|| file.error(format_args!("group /meta has no number {name}")))
        };
        let sample_rate_hz = required("fs")?;
        let masses = [required("m1")?, required("m2")?];
        if sample_rate_hz <= 0.0 || masses.iter().any(|&m| m <= 0.0) {
            return Err(file.error("the sample rate fs and the masses m1 and m2 must be positive"));
        }
        let word = |name: &str| attributes.get(name).and_then(|v| v.as_str()).map(str::to_string);
        Ok(Self {
            plus: plus.to_vec(),
            cross: cross.to_vec(),
            sample_rate_hz,
            masses,
            spins: [required("a1")?, required("a2")?],
            f_min_hz: number(&attributes, "fmin"),
            approximant: word("approx"),
            event: word("eventname"),
        })
    }
}

/// Reads the detector's name: a letter for the site, which the file gives twice, and a digit.
fn detector(file: &Reader) -> Result<String> {
    let wrong = |what: String| file.error(format_args!("dataset meta/Detector: {what}"));
    let name = match file.texts("meta/Detector")?.as_slice() {
        [name] => name.clone(),
        other => return Err(wrong(format!("{other:?} is not one name"))),
    };
    if !is_detector(&name) {
        return Err(wrong(format!("{name:?} is not a detector such as H1, L1 or V1")));
    }
    if file.has("meta", "Observatory")? {
        let site = file.texts("meta/Observatory")?;
        if site.len() != 1 || !name.starts_with(&site[0]) {
            return Err(wrong(format!("{name} is not at the site {site:?} of meta/Observatory")));
        }
    }
    Ok(name)
}

/// Whether `name` is a letter for the site and a digit.
fn is_detector(name: &str) -> bool {
    matches!(name.as_bytes(), [b'A'..=b'Z', b'0'..=b'9'])
}

/// Reads one mask with its names: `<prefix>mask`, `<prefix>Shortnames` and, where present, `<prefix>Descriptions`.
fn mask(file: &Reader, group: &str, prefix: &str, seconds: f64, gps_start: f64) -> Result<Mask> {
    let name = format!("{group}/{prefix}mask");
    let words = file.array::<u32>(&name)?;
    let attributes = file.attributes(&name)?;
    let names = file.texts(&format!("{group}/{prefix}Shortnames"))?;
    let wrong = |what: String| file.error(format_args!("dataset {name}: {what}"));
    if words.shape.len() != 1 || words.values.is_empty() {
        return Err(wrong(format!("has the shape {:?} where one row of words was expected", words.shape)));
    }
    if names.is_empty() || names.len() > 32 {
        return Err(wrong(format!("has 32 bits, and {} names", names.len())));
    }
    if let Some(name) =
        names.iter().enumerate().find_map(|(i, n)| (n.is_empty() || names[..i].contains(n)).then_some(n))
    {
        return Err(wrong(format!("the name {name:?} does not tell its bit from the others")));
    }
    // Bits counts the names; a mask may have more bits set than are named.
    if let Some(bits) = number(&attributes, "Bits").filter(|&bits| bits != names.len() as f64) {
        return Err(wrong(format!("its attribute Bits says {bits}, and there are {} names", names.len())));
    }
    if number(&attributes, "Xstart").is_some_and(|start| start != gps_start) {
        return Err(wrong("starts at another time than the strain".into()));
    }
    let seconds_per_word = number(&attributes, "Xspacing").unwrap_or(1.0);
    let covered = words.values.len() as f64 * seconds_per_word;
    if !seconds_per_word.is_finite() || (covered - seconds).abs() > 1e-6 * seconds {
        return Err(wrong(format!("covers {covered} s, and the strain lasts {seconds} s")));
    }
    let list = format!("{prefix}Descriptions");
    let descriptions = match file.has(group, &list)? {
        true => file.texts(&format!("{group}/{list}"))?,
        false => vec![String::new(); names.len()],
    };
    if descriptions.len() != names.len() {
        return Err(wrong(format!("has {} names and {} descriptions", names.len(), descriptions.len())));
    }
    Ok(Mask { names, descriptions, words: words.values, seconds_per_word })
}

/// An attribute as a number, whichever numeric type it is stored as.
fn number(attributes: &HashMap<String, AttrValue>, name: &str) -> Option<f64> {
    let value = attributes.get(name)?;
    value.as_f64().or_else(|| value.as_i64().map(|v| v as f64))
}

fn string(text: &str) -> AttrValue {
    AttrValue::VarLenString(text.into())
}
