//! `spikewave devices`.

use spikewave::device::gpu::Quirk;
use spikewave::{Result, bytes, device};

use super::{print, print_json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn quirk(quirk: &Quirk) -> String {
    match quirk {
        Quirk::LoopLimit64k => "loops stop silently at 65,534 iterations (kernels stay below)".into(),
        Quirk::NoTimestamps => "no usable timestamps (runs are timed by the wall clock)".into(),
        Quirk::Wrong { test, detail } => format!("WRONG RESULTS in {test}: {detail}"),
    }
}

pub fn run(args: &Args) -> Result<()> {
    let list = device::list()?;
    if args.json {
        return print_json(&list);
    }
    let mut text = String::new();
    for d in &list.devices {
        text += &format!("{} {}\n", if d.chosen { "*" } else { " " }, d.choose_by);
        if let Some(a) = &d.adapter {
            text += &format!("      {}, driver {}\n", a.kind, a.driver_text());
        }
        if let Some(error) = &d.error {
            text += &format!("      cannot be opened: {error}\n");
            continue;
        }
        let size = |b: Option<u64>| b.map_or("unknown".into(), bytes);
        text += &format!(
            "      largest tensor {}, budget {}{}{}\n",
            size(d.max_tensor_bytes),
            size(d.budget_bytes),
            if d.timestamps { ", timestamps" } else { "" },
            if d.pipeline_cache { ", pipeline cache" } else { "" }
        );
        for q in &d.quirks {
            text += &format!("      quirk: {}\n", quirk(q));
        }
    }
    text += &format!("\nauto chooses {}: {}\n", list.chosen, list.reason);
    print(&text)
}
