//! What jobs say of memory: the plan before they run, and what they took.

use serde_json::{Value, json};
use spikewave::device::MemoryPlan;
use spikewave::{Device, Result, bytes, bytes_at_least};

use super::{print, print_json};

/// What a job took of the device's memory; on a GPU with what the driver's allocator says.
pub fn taken(device: &Device, planned_bytes: u64, peak_bytes: u64) -> Value {
    let stats = device.stats();
    json!({
        "planned_bytes": planned_bytes,
        "peak_bytes": peak_bytes,
        "budget_bytes": stats.memory.budget_bytes,
        "allocator": stats.allocator,
    })
}

/// A plan's parts as members of a document.
pub fn parts_json(parts: &[(String, u64)]) -> Value {
    parts.iter().map(|(part, bytes)| (part.clone(), json!(bytes))).collect::<serde_json::Map<_, _>>().into()
}

/// The lines of a plan's parts.
pub fn parts(parts: &[(String, u64)]) -> String {
    parts.iter().map(|(part, size)| format!("  {part:<44} {:>12}\n", bytes(*size))).collect()
}

/// `--plan`: says what the job would take. `job` are further members of the document, `text` the lines before memory's.
/// Where that is too much it is refused, as the job would be.
pub fn say_plan(device: &Device, memory: &MemoryPlan, json: bool, job: Value, text: &str) -> Result<()> {
    if json {
        let mut document = json!({"device": device.name(), "reason": device.reason(), "memory": memory});
        if let (Value::Object(to), Value::Object(from)) = (&mut document, job) {
            to.extend(from);
        }
        print_json(&document)?;
        return memory.check(device);
    }
    let MemoryPlan { planned_bytes, least_bytes, budget_bytes, .. } = memory;
    let fits = if planned_bytes > budget_bytes { ", which is too little" } else { "" };
    print(&format!(
        "{text}memory: {} of {}{fits}; the least that would do is {}\n{}",
        bytes(*planned_bytes),
        bytes(*budget_bytes),
        bytes_at_least(*least_bytes),
        parts(&memory.parts)
    ))?;
    memory.check(device)
}
