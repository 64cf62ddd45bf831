//! A sweep as Markdown.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::figure;
use super::record::{Adapter, Header, Line, Point, Spread, Status, points};
use crate::Result;
use crate::io::write_atomically;
use crate::plot::significant;

/// Writes `report.md` and the pictures into a sweep's folder; returns the files.
///
/// # Errors
/// `File` when one cannot be written.
pub(super) fn write(folder: &Path, lines: &[Line]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (name, drawn) in figure::draw(lines)? {
        let path = folder.join(name);
        drawn.save(&path)?;
        files.push(path);
    }
    let pictures: Vec<String> =
        files.iter().filter_map(|f| Some(f.file_name()?.to_string_lossy().into_owned())).collect();
    let path = folder.join("report.md");
    let text = markdown(lines, &pictures);
    write_atomically(&path, |file| file.write_all(text.as_bytes()))?;
    files.insert(0, path);
    Ok(files)
}

/// A median distance that is more than this of the median is marked.
const WIDE: f64 = 0.25;
/// Ceilings of one device that are further apart are those of a machine that does something else too.
const STEADY: f64 = 1.25;

/// A device, and how far its times are to be trusted.
pub(super) struct Used {
    /// As it was opened last, with the best of all its ceilings.
    pub about: Adapter,
    /// The best ceiling over the worst of the same kind.
    pub apart: f64,
    /// All its controls are within their bands.
    pub controlled: bool,
}

impl Used {
    pub(super) fn title(&self) -> String {
        title(&self.about.name, &self.about.build)
    }

    /// What speaks against its times.
    pub(super) fn doubts(&self) -> Option<String> {
        let unsteady = || format!("its ceilings were {} times apart within the sweep", significant(self.apart));
        match (self.controlled, self.apart > STEADY) {
            (true, false) => None,
            (true, true) => Some(unsteady()),
            (false, false) => Some("the control does not hold".into()),
            (false, true) => Some(format!("the control does not hold, and {}", unsteady())),
        }
    }
}

/// Devices in the order of first use.
pub(super) fn devices(lines: &[Line]) -> Vec<Used> {
    let mut found: Vec<Used> = Vec::new();
    for line in lines {
        let Line::Adapter(new) = line else { continue };
        match found.iter_mut().find(|u| u.about.name == new.name && u.about.build == new.build) {
            None => found.push(Used { about: new.clone(), apart: 1.0, controlled: true }),
            Some(known) => {
                let mut about = new.clone();
                for (now, before) in
                    [(&mut about.bandwidth, known.about.bandwidth), (&mut about.arithmetic, known.about.arithmetic)]
                {
                    if let (Some(a), Some(b)) = (*now, before) {
                        known.apart = known.apart.max(a / b).max(b / a);
                    }
                    let best = [*now, before].into_iter().flatten().reduce(f64::max);
                    *now = best;
                }
                known.about = about;
            }
        }
    }
    for line in lines {
        if let Line::Control(c) = line
            && !c.holds()
            && let Some(used) = found.iter_mut().find(|u| u.about.name == c.adapter && u.about.build == c.build)
        {
            used.controlled = false;
        }
    }
    found
}

/// What a device is called where several are beside each other.
pub(super) fn title(name: &str, build: &str) -> String {
    if build == super::Build::Unchecked.name() { name.into() } else { format!("{name} ({build})") }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Microseconds with their unit.
pub(super) fn time(us: f64) -> String {
    match us {
        _ if us < 1e3 => format!("{} µs", significant(us)),
        _ if us < 1e6 => format!("{} ms", significant(us / 1e3)),
        _ => format!("{} s", significant(us / 1e6)),
    }
}

/// Marks a time whose samples are far apart.
fn mark(s: Spread) -> &'static str {
    if s.mad > WIDE * s.median { " ‡" } else { "" }
}

fn spread(s: Option<Spread>) -> String {
    s.map_or("–".into(), |s| format!("{} ± {:.0} %{}", time(s.median), 100.0 * s.mad / s.median, mark(s)))
}

fn number(value: Option<f64>) -> String {
    value.map_or("–".into(), significant)
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".into(), |v| format!("{:.0} %", 100.0 * v))
}

fn markdown(lines: &[Line], pictures: &[String]) -> String {
    let mut text = String::from("# Sweep\n\n");
    if let Some(Line::Sweep(header)) = lines.first() {
        text += &heading(header, lines);
    }
    let all: Vec<&Point> = points(lines).collect();
    let bad: Vec<&&Point> = all.iter().filter(|p| matches!(p.status, Status::Wrong | Status::Failed)).collect();
    if !bad.is_empty() {
        let (points, have) = if bad.len() == 1 { ("point is", "it has") } else { ("points are", "they have") };
        text += &format!("**{} {points} wrong or failed; {have} no times.**\n\n", bad.len());
        text += "| point | | what |\n|---|---|---|\n";
        for p in bad {
            let status = if p.status == Status::Wrong { "wrong" } else { "failed" };
            text += &format!(
                "| {} | {status} | {} |\n",
                escape(&p.key().to_string()),
                escape(p.detail.as_deref().unwrap_or(""))
            );
        }
        text.push('\n');
    }
    text += &controls(lines);
    let devices = devices(lines);
    text += "## Devices\n\n| device | kind | driver | quirks | copy, GB/s | multiply-add, GFLOP/s |\n|---|---|---|---|--:|--:|\n";
    for used in &devices {
        let a = &used.about;
        let quirks = if a.quirks.is_empty() { "none".into() } else { a.quirks.join(", ") };
        let quirks = a.error.as_ref().map_or(quirks, |error| format!("cannot be used: {error}"));
        text += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            escape(&used.title()),
            escape(&a.kind),
            escape(&a.driver),
            escape(&quirks),
            number(a.bandwidth),
            number(a.arithmetic)
        );
    }
    text += "\nCeilings are measured at the start and at the end of a sweep; the best of them counts.\n\n";
    text += &sizes(&all);
    for picture in pictures {
        text += &format!("![{}]({picture})\n\n", picture.trim_end_matches(".png"));
    }
    for (picture, why) in [("scaling.png", "no case has times in two sizes"), ("backends.png", "there is one device")] {
        if !pictures.is_empty() && !pictures.iter().any(|p| p == picture) {
            text += &format!("No {picture}: {why}.\n\n");
        }
    }
    let used: Vec<&Used> = devices.iter().filter(|u| u.about.error.is_none()).collect();
    if used.len() > 1 {
        text += &against(&used, &all);
    }
    for used in used {
        let a = &used.about;
        text += &format!("## {}\n\n", escape(&used.title()));
        let own: Vec<&&Point> = all.iter().filter(|p| p.adapter == a.name && p.build == a.build).collect();
        let bandwidth_share = |p: &Point| Some(p.bandwidth? / a.bandwidth?);
        let arithmetic_share = |p: &Point| Some(p.arithmetic.filter(|_| p.operations > 0)? / a.arithmetic?);
        if let Some(doubts) = used.doubts() {
            text += &format!("**Not to be trusted: {doubts}.**\n\n");
        }
        let above = own.iter().filter(|p| arithmetic_share(p).is_some_and(|share| share > 1.0)).count();
        if above > 0 {
            text += &format!(
                "**{above} points compute faster than the multiply-add kernel did: that was slowed down when it was \
                 measured, and shares of it are too large.**\n\n"
            );
        }
        let specialised: usize = own.iter().filter_map(|p| p.specialised).sum();
        if own.iter().any(|p| p.specialised.is_some()) {
            let points = own.iter().filter(|p| p.specialised.is_some_and(|n| n > 0)).count();
            text += &format!(
                "{specialised} kernels of {points} points ran specialised; the others have no such kernel.\n\n"
            );
        }
        text += "| case | variant | size | kernels | wall clock | GB/s | of copy | GFLOP/s | of multiply-add | deviation | checksum |\n";
        text += "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n";
        for p in own {
            let deviation = match (p.status, p.deviation) {
                (Status::Right, Some(0.0)) => "bits equal".into(),
                (Status::Right, Some(d)) => format!("{d:.2}"),
                (Status::Right, None) => String::new(),
                (Status::Wrong, _) => "**wrong**".into(),
                (Status::Failed, _) => "**failed**".into(),
                (Status::Refused, _) => format!("refused: {}", escape(p.detail.as_deref().unwrap_or(""))),
            };
            let operations = p.arithmetic.filter(|_| p.operations > 0);
            text += &format!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {deviation} | {} |\n",
                p.case,
                p.variant,
                p.size,
                spread(p.kernel_us),
                spread(p.wall_us),
                number(p.bandwidth),
                percent(bandwidth_share(p)),
                number(operations),
                percent(arithmetic_share(p)),
                p.checksum.as_deref().unwrap_or(""),
            );
        }
        text.push('\n');
    }
    text
}

/// Where and when it ran: a line for each start, and what a machine that is the same did until the end.
fn machines(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        let Line::Machine(m) = line else { continue };
        let load = m.load.map_or("unknown".into(), significant);
        if m.when == "end" {
            text.truncate(text.trim_end().len());
            text += &format!(", until {} UTC with a load of {load}\n", m.date);
        } else {
            let host = m.host.as_ref().map_or(String::new(), |host| format!(" on {host}"));
            text += &format!("- {} UTC{host}: {}, {}; load {load}\n", m.date, m.processor, m.system);
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

/// What the sizes of the cases count.
fn sizes(points: &[&Point]) -> String {
    let mut units: Vec<(&str, Vec<&str>)> = Vec::new();
    for p in points {
        match units.iter_mut().find(|(unit, _)| *unit == p.unit) {
            Some((_, cases)) if cases.contains(&&*p.case) => {}
            Some((_, cases)) => cases.push(&p.case),
            None => units.push((&p.unit, vec![&p.case])),
        }
    }
    let mut text = String::from("## Sizes\n\n| a size counts | of |\n|---|---|\n");
    for (unit, cases) in units {
        text += &format!("| {} | {} |\n", escape(unit), cases.join(", "));
    }
    text + "\n"
}

fn heading(h: &Header, lines: &[Line]) -> String {
    let mut text = format!(
        "spikewave {} of commit {}, wgpu {}; {} samples behind {} runs of warm-up.\n\n",
        h.version, h.commit, h.wgpu, h.samples, h.warmup
    );
    text += &machines(lines);
    if h.samples < super::LEAST_SAMPLES {
        return text
            + &format!("Fewer than {} samples: results are compared, times are not stated.\n\n", super::LEAST_SAMPLES);
    }
    text += "Times are medians ± the median distance from them; ‡: that is above 25 %. *Kernels*: by the device's \
             timestamps from the first dispatch to the end of the last, without transfers (native path: the wall clock \
             around each kernel). A sample of less than 20 µs is the mean of as many runs as make that, at most 100. *Wall \
             clock*: from the call to the results on the host (native path: of a run that times its kernels). *GB/s*: the bytes that any method has to move over the \
             kernels' time; above 100 % of the copy kernel's 64 MiB where a cache holds the data. *GFLOP/s*: \
             the operations of the definition or of the usual fast method; none where that depends on the data. \
             *Deviation*: the worst element's distance from the native path in units of what the model allows. \
             *Checksum*: of the results.\n\n";
    text
}

fn controls(lines: &[Line]) -> String {
    let controls: Vec<_> = lines.iter().filter_map(|l| if let Line::Control(c) = l { Some(c) } else { None }).collect();
    if controls.is_empty() {
        return String::new();
    }
    let mut text = String::from("## Control\n\n");
    text += if controls.iter().all(|c| c.holds()) {
        "One point under two names, run in turns, has the ratio 1 within the band on every device.\n\n"
    } else {
        "**One point under two names, run in turns, does not have the ratio 1 everywhere: the times of the devices \
         marked below are not to be trusted.**\n\n"
    };
    text += "| device | when | point | ratio | must be | |\n|---|---|---|--:|--:|---|\n";
    for c in controls {
        text += &format!(
            "| {} | {} | {} | {:.3} | 1 ± {} | {} |\n",
            escape(&title(&c.adapter, &c.build)),
            c.when,
            c.point,
            c.ratio,
            c.band,
            if c.holds() { "" } else { "**not to be trusted**" }
        );
    }
    text + "\n"
}

/// Every point on every device.
fn against(devices: &[&Used], all: &[&Point]) -> String {
    let mut rows: Vec<(&str, &str, usize)> = Vec::new();
    let mut cells = BTreeMap::new();
    for p in all {
        let row = (&*p.case, &*p.variant, p.size);
        if !rows.contains(&row) {
            rows.push(row);
        }
        cells.insert((row, &*p.adapter, &*p.build), *p);
    }
    let mut text = String::from("## Backend against backend\n\n| case | variant | size |");
    for used in devices {
        let mark = if used.doubts().is_some() { "† " } else { "" };
        text += &format!(" {mark}{} |", escape(&used.title()));
    }
    text += "\n|---|---|--:|";
    text += &"--:|".repeat(devices.len());
    text.push('\n');
    for row in rows {
        text += &format!("| {} | {} | {} |", row.0, row.1, row.2);
        let spread = |a: &Adapter| cells.get(&(row, &*a.name, &*a.build)).and_then(|p| p.time());
        let first = devices.first().and_then(|used| Some(spread(&used.about)?.median));
        for (i, a) in devices.iter().map(|used| &used.about).enumerate() {
            let cell = match (spread(a), cells.get(&(row, &*a.name, &*a.build)).map(|p| p.status)) {
                (Some(s), _) => {
                    let ratio = |f| format!(" (× {})", significant(s.median / f));
                    time(s.median) + mark(s) + &first.filter(|_| i > 0).map_or(String::new(), ratio)
                }
                (None, Some(Status::Right)) => "right".into(),
                (None, Some(Status::Refused)) => "refused".into(),
                (None, Some(_)) => "**wrong or failed**".into(),
                (None, None) => "–".into(),
            };
            text += &format!(" {cell} |");
        }
        text.push('\n');
    }
    text += "\n× is the time over that of the first device. ‡ Samples are apart by more than 25 %.";
    if devices.iter().any(|used| used.doubts().is_some()) {
        text += " † Not to be trusted: see below.";
    }
    text + "\n\n"
}
