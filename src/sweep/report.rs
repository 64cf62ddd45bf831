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

/// Devices in the order of first use, as they were opened last.
pub(super) fn adapters(lines: &[Line]) -> Vec<&Adapter> {
    let mut found: Vec<&Adapter> = Vec::new();
    for line in lines {
        if let Line::Adapter(adapter) = line {
            match found.iter_mut().find(|a| a.name == adapter.name && a.build == adapter.build) {
                Some(known) => *known = adapter,
                None => found.push(adapter),
            }
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
fn time(us: f64) -> String {
    match us {
        _ if us < 1e3 => format!("{} µs", significant(us)),
        _ if us < 1e6 => format!("{} ms", significant(us / 1e3)),
        _ => format!("{} s", significant(us / 1e6)),
    }
}

fn spread(s: Option<Spread>) -> String {
    s.map_or("–".into(), |s| format!("{} ± {:.0} %", time(s.median), 100.0 * s.mad / s.median))
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
        text += &heading(header);
    }
    let all: Vec<&Point> = points(lines).collect();
    let bad: Vec<&&Point> = all.iter().filter(|p| matches!(p.status, Status::Wrong | Status::Failed)).collect();
    if !bad.is_empty() {
        text += &format!("**{} points are wrong or failed; they have no times.**\n\n", bad.len());
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
    let devices = adapters(lines);
    text += "## Devices\n\n| device | kind | driver | quirks | copy, GB/s | multiply-add, GFLOP/s |\n|---|---|---|---|--:|--:|\n";
    for a in &devices {
        let quirks = if a.quirks.is_empty() { "none".into() } else { a.quirks.join(", ") };
        let quirks = a.error.as_ref().map_or(quirks, |error| format!("cannot be used: {error}"));
        text += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            escape(&title(&a.name, &a.build)),
            escape(&a.kind),
            escape(&a.driver),
            escape(&quirks),
            number(a.bandwidth),
            number(a.arithmetic)
        );
    }
    text += "\n";
    for picture in pictures {
        text += &format!("![{}]({picture})\n\n", picture.trim_end_matches(".png"));
    }
    let used: Vec<&&Adapter> = devices.iter().filter(|a| a.error.is_none()).collect();
    if used.len() > 1 {
        text += &against(&used, &all);
    }
    for a in used {
        text += &format!("## {}\n\n", escape(&title(&a.name, &a.build)));
        text += "| case | variant | size | kernels | wall clock | GB/s | of copy | GFLOP/s | of multiply-add | deviation |\n";
        text += "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        for p in all.iter().filter(|p| p.adapter == a.name && p.build == a.build) {
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
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {deviation} |\n",
                p.case,
                p.variant,
                p.size,
                spread(p.kernel_us),
                spread(p.wall_us),
                number(p.bandwidth),
                percent(p.bandwidth_share),
                number(operations),
                percent(p.arithmetic_share.filter(|_| p.operations > 0)),
            );
        }
        text.push('\n');
    }
    text
}

fn heading(h: &Header) -> String {
    let mut text = format!(
        "spikewave {} at {}, wgpu {}; {} samples behind {} runs of warm-up.\n\n",
        h.version, h.commit, h.wgpu, h.samples, h.warmup
    );
    if h.samples < super::LEAST_SAMPLES {
        return text
            + &format!("Fewer than {} samples: results are compared, times are not stated.\n\n", super::LEAST_SAMPLES);
    }
    text += "Times are medians ± the median distance from them. *Kernels*: by the device's timestamps from the first \
             dispatch to the end of the last, without transfers (native path: the wall clock around each kernel). *Wall \
             clock*: from the call to the results on the host. *GB/s*: the bytes that any method has to move over the \
             kernels' time; above 100 % of the copy kernel's 64 MiB where a cache holds the data. *Deviation*: the worst \
             element's distance from the native path in units of what the model allows.\n\n";
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
fn against(devices: &[&&Adapter], all: &[&Point]) -> String {
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
    for a in devices {
        text += &format!(" {} |", escape(&title(&a.name, &a.build)));
    }
    text += "\n|---|---|--:|";
    text += &"--:|".repeat(devices.len());
    text.push('\n');
    for row in rows {
        text += &format!("| {} | {} | {} |", row.0, row.1, row.2);
        let median = |a: &Adapter| cells.get(&(row, &*a.name, &*a.build)).and_then(|p| Some(p.time()?.median));
        let first = devices.first().and_then(|a| median(a));
        for (i, a) in devices.iter().enumerate() {
            let cell = match (median(a), cells.get(&(row, &*a.name, &*a.build)).map(|p| p.status)) {
                (Some(us), _) => {
                    let ratio =
                        first.filter(|_| i > 0).map_or(String::new(), |f| format!(" (× {})", significant(us / f)));
                    time(us) + &ratio
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
    text += "\n× is the time over that of the first device.\n\n";
    text
}
