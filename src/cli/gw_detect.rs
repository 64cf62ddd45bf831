//! `spikewave gw detect`.

use std::time::Instant;

use serde_json::json;
use spikewave::Result;
use spikewave::device::Control;
use spikewave::gw::detect::Detector;
use spikewave::gw::plot;

use super::gw::{Cost, DetectArgs, announce, writable};
use super::{interrupt, memory, plural, print, print_json, progress, survive};

/// Triggers that the table shows; the JSON has all.
const SHOWN: usize = 10;

pub fn run(args: &DetectArgs) -> Result<()> {
    let started = Instant::now();
    let cancel = interrupt();
    let strains = args.pair.read()?;
    if let Some(path) = &args.plot {
        writable(path)?;
    }
    let mut device = args.device.open()?;
    announce(&device);
    if args.plan {
        let plan = Detector::plan(&device, [&strains[0], &strains[1]], args.pair.flag.as_deref())?;
        let (chirps, blocks) = (plan.chirps_at_once, plan.blocks);
        let text = format!("{} at once; {} of data\n", plural(chirps, "chirp"), plural(blocks, "block"));
        let job = json!({"chirps_at_once": chirps, "blocks": blocks});
        return memory::say_plan(&device, &plan.memory, args.json, job, &text);
    }
    let (setup_ms, found) = survive(&mut device, |device| {
        let mut detector = Detector::new(device, [&strains[0], &strains[1]], args.pair.flag.as_deref())?;
        let setup_ms = (started.elapsed().as_secs_f64() - detector.warmup_s) * 1e3;
        let bar = progress();
        bar.set_message("stretches of data");
        let control = Control { cancel: cancel.clone(), ..Control::default() };
        let found = detector.run(&control, &|done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        Ok((setup_ms, found?))
    })?;
    let loudest = found.triggers.first();
    if let Some(path) = &args.plot {
        let mut figure = found.figure.clone();
        figure.title = match loudest {
            Some(t) => format!("Spiking detector: score {:.1} at GPS {:.3}", t.score, t.gps_time),
            None => "Spiking detector: no trigger".into(),
        };
        figure.subtitle = format!(
            "{} and {}, {:.0} s; ON and OFF events of {} filters, coincidence neurons, ranked triggers",
            found.names[0], found.names[1], found.searched_s, figure.neurons
        );
        plot::detect(&figure, path)?;
    }
    let cost = Cost {
        setup_ms,
        warmup_s: found.warmup_s,
        run_s: found.run_s,
        total_ms: started.elapsed().as_secs_f64() * 1e3,
        planned_bytes: found.planned_bytes,
        peak_bytes: found.peak_bytes,
        budget_bytes: device.stats().memory.budget_bytes,
        created: found.created,
    };
    if args.json {
        return print_json(&json!({
            "device": device.name(),
            "triggers": found.triggers,
            "searched_s": found.searched_s,
            "timing": cost.timing(),
            "memory": cost.memory(&device),
            "created_after_warmup": cost.created,
        }));
    }
    let mut text = format!(
        "{} trigger{} in {:.0} s of {} and {} data\n\n",
        found.triggers.len(),
        if found.triggers.len() == 1 { "" } else { "s" },
        found.searched_s,
        found.names[0],
        found.names[1]
    );
    if !found.triggers.is_empty() {
        text += &format!(
            "rank    score        GPS time      delay   chirp (solar masses)\n{}",
            found
                .triggers
                .iter()
                .take(SHOWN)
                .map(|t| format!(
                    "{:>4} {:>8.2} {:>15.4} {:>+7.1} ms   {:>2}: {:.1} + {:.1}\n",
                    t.rank,
                    t.score,
                    t.gps_time,
                    (t.l1_time - t.h1_time) * 1e3,
                    t.template,
                    t.masses[0],
                    t.masses[1]
                ))
                .collect::<String>()
        );
        if found.triggers.len() > SHOWN {
            text += &format!("… and {} quieter ones\n", found.triggers.len() - SHOWN);
        }
    }
    text += &format!("\n{cost}\n");
    if let Some(path) = &args.plot {
        text += &format!("picture: {}\n", path.display());
    }
    print(&text)
}
