//! Which kernels agree with the native path in which sweeps.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::record::{KernelId, POINTS, Status, whole};
use crate::{Error, Result, kernel};

/// What is read of a point; other programs that test kernels may write such lines too.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    adapter: String,
    #[serde(default)]
    build: String,
    #[serde(default)]
    case: String,
    #[serde(default)]
    variant: String,
    /// What has a size can have been run again.
    #[serde(default)]
    size: Option<usize>,
    #[serde(default)]
    kernels: Vec<KernelId>,
    #[serde(default)]
    status: Option<Status>,
    #[serde(default)]
    deviation: Option<f64>,
    #[serde(default)]
    detail: Option<String>,
}

/// What came of a kernel in all cases that dispatch it, the worst of them.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    Right(Option<f64>),
    Refused(String),
    /// Of another text than this program's kernel has: it says nothing about that one.
    Stale,
    Failed(String),
    Wrong(Option<f64>, String),
}

impl Verdict {
    fn rank(&self) -> (u8, f64) {
        match self {
            Self::Refused(_) => (0, 0.0),
            Self::Right(deviation) => (1, deviation.unwrap_or(-1.0)),
            Self::Stale => (2, 0.0),
            Self::Failed(_) => (3, 0.0),
            Self::Wrong(deviation, _) => (4, deviation.unwrap_or(f64::INFINITY)),
        }
    }

    fn cell(&self) -> String {
        match self {
            // Bit for bit.
            Self::Right(Some(0.0) | None) => "✓".into(),
            Self::Right(Some(deviation)) => format!("✓ {deviation:.2}"),
            Self::Refused(_) => "refused".into(),
            Self::Stale => "another text".into(),
            Self::Failed(why) => format!("✗ {why}"),
            Self::Wrong(Some(deviation), case) => format!("✗ {deviation:.1} ({case})"),
            Self::Wrong(None, case) => format!("✗ differs ({case})"),
        }
    }
}

/// A table of kernels and sweeps.
#[derive(Debug, Clone, Default)]
pub struct Agreements {
    columns: Vec<String>,
    rows: BTreeMap<String, BTreeMap<usize, Verdict>>,
}

/// Reads the points of folders.
///
/// # Errors
/// `File` for a folder without them, with the line that cannot be read.
pub fn agreement(folders: &[impl AsRef<Path>]) -> Result<Agreements> {
    let mut table = Agreements::default();
    for kernel in kernel::ALL {
        table.rows.insert(kernel.label().into(), BTreeMap::new());
    }
    for folder in folders {
        table.add(folder.as_ref())?;
    }
    Ok(table)
}

impl Agreements {
    fn add(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(POINTS);
        let bytes = std::fs::read(&path)
            .map_err(|e| Error::file(&path, format_args!("cannot be read ({e}); name the folder of a sweep")))?;
        let mut rows = Vec::new();
        for (i, line) in whole(&path, &bytes)?.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fail = |e: serde_json::Error| Error::file(&path, format_args!("line {}: {e}", i + 1));
            let value: serde_json::Value = serde_json::from_str(line).map_err(fail)?;
            if value["line"] == "point" {
                rows.push(serde_json::from_value::<Row>(value).map_err(fail)?);
            }
        }
        if rows.is_empty() {
            return Err(Error::file(&path, "holds no points"));
        }
        let key =
            |r: &Row| r.size.map(|size| (r.adapter.clone(), r.build.clone(), r.case.clone(), r.variant.clone(), size));
        let last: HashMap<_, usize> = rows.iter().enumerate().filter_map(|(i, r)| Some((key(r)?, i))).collect();
        let rows: Vec<Row> = rows
            .into_iter()
            .enumerate()
            .filter(|(i, r)| key(r).is_none_or(|key| last.get(&key) == Some(i)))
            .map(|(_, r)| r)
            .collect();
        let mut adapters: Vec<&str> = Vec::new();
        for row in &rows {
            if !adapters.contains(&&*row.adapter) {
                adapters.push(&row.adapter);
            }
        }
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
        let name = absolute.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into());
        let first = self.columns.len();
        match &adapters[..] {
            [] | [_] => self.columns.push(name),
            several => self.columns.extend(several.iter().map(|adapter| format!("{name}: {adapter}"))),
        }
        for row in &rows {
            let at = first + adapters.iter().position(|a| *a == row.adapter).unwrap_or(0);
            let detail = || row.detail.clone().unwrap_or_default();
            let verdict = match row.status {
                Some(Status::Right) => Verdict::Right(row.deviation),
                Some(Status::Wrong) => Verdict::Wrong(row.deviation, row.case.clone()),
                Some(Status::Refused) => Verdict::Refused(detail()),
                Some(Status::Failed) | None => Verdict::Failed(detail()),
            };
            for kernel in &row.kernels {
                let ours = kernel::ALL.iter().find(|k| k.label() == kernel.label);
                // Not every program that writes such lines knows of which text they are.
                let stale = !kernel.hash.is_empty() && ours.is_none_or(|k| format!("{:016x}", k.hash) != kernel.hash);
                let verdict = if stale { Verdict::Stale } else { verdict.clone() };
                let cells = self.rows.entry(kernel.label.clone()).or_default();
                let worse = cells.get(&at).is_none_or(|known| verdict.rank() > known.rank());
                if worse {
                    cells.insert(at, verdict);
                }
            }
        }
        Ok(())
    }

    /// Whether nothing is wrong, nothing failed, and all of it is about the kernels of this program.
    pub fn is_right(&self) -> bool {
        self.rows.values().flat_map(BTreeMap::values).all(|v| matches!(v, Verdict::Right(_) | Verdict::Refused(_)))
    }

    /// Kernels that no point of a folder dispatches, by column.
    pub fn missing(&self) -> Vec<(String, Vec<String>)> {
        let of = |(at, name): (usize, &String)| {
            let missing: Vec<_> =
                self.rows.iter().filter(|(_, c)| !c.contains_key(&at)).map(|(k, _)| k.clone()).collect();
            (!missing.is_empty()).then(|| (name.clone(), missing))
        };
        self.columns.iter().enumerate().filter_map(of).collect()
    }

    /// The table in Markdown: `✓` equal bit for bit, `✓ 0.12` within the stated model, of which the worst element takes
    /// 0.12, `✗` what is wrong, `another text` for results of a kernel as this program does not have it, empty where no point dispatches the kernel.
    pub fn markdown(&self) -> String {
        let escape = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let mut text = String::from("| kernel |");
        for column in &self.columns {
            text += &format!(" {} |", escape(column));
        }
        text += "\n|---|";
        text += &":-:|".repeat(self.columns.len());
        text.push('\n');
        for (kernel, cells) in &self.rows {
            text += &format!("| `{kernel}` |");
            for at in 0..self.columns.len() {
                text += &format!(" {} |", cells.get(&at).map_or(String::new(), |v| escape(&v.cell())));
            }
            text.push('\n');
        }
        text
    }
}
