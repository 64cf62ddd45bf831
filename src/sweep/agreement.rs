//! Which kernels agree with the native path in which sweeps.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::{KernelId, POINTS, Status, mistake, whole};
use crate::{Error, Result, kernel};

/// What is read of a point; other programs that test kernels may write such lines too.
#[derive(Debug, Deserialize)]
struct Row {
    #[serde(default)]
    adapter: String,
    #[serde(default)]
    driver: String,
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
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Verdict {
    Right {
        deviation: Option<f64>,
    },
    Refused {
        detail: String,
    },
    /// Of another text than this program's kernel has: it says nothing about that one.
    AnotherText,
    Failed {
        detail: String,
    },
    Wrong {
        deviation: Option<f64>,
        case: String,
    },
}

impl Verdict {
    fn rank(&self) -> (u8, f64) {
        match self {
            Self::Refused { .. } => (0, 0.0),
            Self::Right { deviation } => (1, deviation.unwrap_or(-1.0)),
            Self::AnotherText => (2, 0.0),
            Self::Failed { .. } => (3, 0.0),
            Self::Wrong { deviation, .. } => (4, deviation.unwrap_or(f64::INFINITY)),
        }
    }

    fn cell(&self) -> String {
        match self {
            // Bit for bit.
            Self::Right { deviation: Some(0.0) | None } => "✓".into(),
            Self::Right { deviation: Some(deviation) } => format!("✓ {deviation:.2}"),
            Self::Refused { .. } => "refused".into(),
            Self::AnotherText => "another text".into(),
            Self::Failed { detail } => format!("✗ {detail}"),
            Self::Wrong { deviation: Some(deviation), case } => format!("✗ {deviation:.1} ({case})"),
            Self::Wrong { deviation: None, case } => format!("✗ differs ({case})"),
        }
    }
}

/// A device in a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// The folder's name, with as much more as tells it from other columns: the device, its driver, the whole path.
    pub name: String,
    /// The folder.
    pub folder: String,
    /// The device; empty where the points do not say it.
    pub adapter: String,
    /// Its driver; likewise.
    pub driver: String,
}

/// A table of kernels and sweeps.
#[derive(Debug, Clone, Default)]
pub struct Agreements {
    columns: Vec<Column>,
    rows: BTreeMap<String, BTreeMap<usize, Verdict>>,
}

/// Reads the points of folders.
///
/// # Errors
/// `File` for a folder without them, with the line that cannot be read.
pub fn agreement(folders: &[impl AsRef<Path>]) -> Result<Agreements> {
    let mut table = Agreements::default();
    for folder in folders {
        table.add(folder.as_ref())?;
    }
    for more in [|c: &Column| c.driver.clone(), |c: &Column| c.folder.clone()] {
        let names: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
        for column in &mut table.columns {
            let more = more(column);
            if names.iter().filter(|name| **name == column.name).count() > 1 && !more.is_empty() {
                column.name += &format!(" ({more})");
            }
        }
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
            let fail = |e: serde_json::Error| mistake(&path, i + 1, &e);
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
        let device = |r: &Row| (r.adapter.clone(), r.driver.clone());
        let mut devices = Vec::new();
        for row in &rows {
            if !devices.contains(&device(row)) {
                devices.push(device(row));
            }
        }
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
        let name = absolute.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into());
        let first = self.columns.len();
        let several = devices.len() > 1;
        self.columns.extend(devices.iter().cloned().map(|(adapter, driver)| Column {
            name: if several { format!("{name}: {adapter}") } else { name.clone() },
            folder: folder.display().to_string(),
            adapter,
            driver,
        }));
        for row in &rows {
            let at = first + devices.iter().position(|d| *d == device(row)).unwrap_or(0);
            let detail = || row.detail.clone().unwrap_or_default();
            let verdict = match row.status {
                Some(Status::Right) => Verdict::Right { deviation: row.deviation },
                Some(Status::Wrong) => Verdict::Wrong { deviation: row.deviation, case: row.case.clone() },
                Some(Status::Refused) => Verdict::Refused { detail: detail() },
                Some(Status::Failed) | None => Verdict::Failed { detail: detail() },
            };
            for kernel in &row.kernels {
                let ours = kernel::ALL.iter().find(|k| k.label() == kernel.label);
                // Not every program that writes such lines knows of which text they are.
                let stale = !kernel.hash.is_empty() && ours.is_none_or(|k| format!("{:016x}", k.hash) != kernel.hash);
                let verdict = if stale { Verdict::AnotherText } else { verdict.clone() };
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
        self.rows
            .values()
            .flat_map(BTreeMap::values)
            .all(|v| matches!(v, Verdict::Right { .. } | Verdict::Refused { .. }))
    }

    /// The devices.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// This program's kernels that no point of a column dispatches.
    pub fn missing(&self, column: usize) -> Vec<&'static str> {
        let there = |label| self.rows.get(label).is_some_and(|cells| cells.contains_key(&column));
        let mut missing: Vec<_> = kernel::ALL.iter().map(|k| k.label()).filter(|label| !there(*label)).collect();
        missing.sort_unstable();
        missing
    }

    /// Everything, kernels by label and in them verdicts by the columns' names.
    pub fn json(&self) -> serde_json::Value {
        let named = |cells: &BTreeMap<usize, Verdict>| -> BTreeMap<String, Verdict> {
            cells.iter().map(|(at, verdict)| (self.columns[*at].name.clone(), verdict.clone())).collect()
        };
        let kernels: BTreeMap<_, _> = self.rows.iter().map(|(label, cells)| (label, named(cells))).collect();
        serde_json::json!({ "right": self.is_right(), "columns": self.columns, "kernels": kernels })
    }

    /// The table in Markdown: `✓` equal bit for bit, `✓ 0.12` within the stated model, of which the worst element takes
    /// 0.12, `✗` what is wrong, `another text` for results of a kernel as this program does not have it, empty where no
    /// point dispatches the kernel. Kernels that no point dispatches have no row.
    pub fn markdown(&self) -> String {
        let escape = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let mut text = String::from("| kernel |");
        for column in &self.columns {
            text += &format!(" {} |", escape(&column.name));
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
