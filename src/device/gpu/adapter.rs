//! Which adapters there are, and which one a choice means.

use super::health::silently;
use crate::device::Choice;
use crate::{Error, Result};

/// An adapter as `devices` shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AdapterReport {
    /// Its name; any part of it chooses it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `gl`.
    pub backend: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software` or `other`.
    pub kind: &'static str,
    /// The driver's name.
    pub driver: String,
    /// Its version.
    pub driver_info: String,
    /// What tells it from the others of the same name and backend, if there are any: its driver's version, or its driver
    /// and a number.
    pub distinction: Option<String>,
}

impl AdapterReport {
    /// What to give to `--device`: `BACKEND:NAME`, or `BACKEND:NAME [DISTINCTION]`.
    pub fn choose_by(&self) -> String {
        let distinction = self.distinction.as_ref().map_or(String::new(), |d| format!(" [{d}]"));
        format!("{}:{}{distinction}", self.backend, self.name)
    }

    /// The driver's name and version.
    pub fn driver_text(&self) -> String {
        format!("{} {}", self.driver, self.driver_info).trim().into()
    }
}

/// Gives those of the same name and backend their distinctions.
fn distinguish(reports: &mut [AdapterReport]) {
    let all = reports.to_vec();
    for (i, report) in reports.iter_mut().enumerate() {
        let alike = |of: &[AdapterReport]| -> Vec<AdapterReport> {
            of.iter().filter(|r| (&r.backend, &r.name) == (&all[i].backend, &all[i].name)).cloned().collect()
        };
        let (others, before) = (alike(&all), alike(&all[..i]));
        let version = report.driver_info.trim();
        if others.len() > 1 {
            let unique = others.iter().filter(|r| r.driver_info.trim() == version).count() == 1;
            report.distinction = Some(match unique && !version.is_empty() {
                true => version.into(),
                false => format!("{} #{}", report.driver_text(), before.len() + 1),
            });
        }
    }
}

/// Names of software drivers that do not always say that they are.
const SOFTWARE: [&str; 4] = ["llvmpipe", "softpipe", "swiftshader", "basic render"];

/// Elementary operations of a slice ([`Capabilities::slice_work`](crate::recording::Capabilities::slice_work)): at 1, 0.1
/// and 0.01 TFLOP/s, which the slowest of each kind reach, about 10 to 30 ms.
pub(super) fn slice_work(info: &wgpu::AdapterInfo) -> u64 {
    match info.device_type {
        _ if is_software(info) => 1 << 27,
        wgpu::DeviceType::DiscreteGpu => 1 << 33,
        _ => 1 << 30,
    }
}

/// Whether the adapter computes on the CPU.
pub(super) fn is_software(info: &wgpu::AdapterInfo) -> bool {
    let name = info.name.to_lowercase();
    info.device_type == wgpu::DeviceType::Cpu || SOFTWARE.iter().any(|s| name.contains(s))
}

pub(super) fn report(info: &wgpu::AdapterInfo) -> AdapterReport {
    let kind = match info.device_type {
        _ if is_software(info) => "software",
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        _ => "other",
    };
    AdapterReport {
        name: info.name.clone(),
        backend: info.backend.to_str().into(),
        kind,
        driver: info.driver.clone(),
        driver_info: info.driver_info.clone(),
        distinction: None,
    }
}

/// The best first: by kind, then native backends before GL.
fn rank(info: &wgpu::AdapterInfo) -> (u8, bool) {
    let kind = match info.device_type {
        _ if is_software(info) => 4,
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        _ => 3,
    };
    (kind, info.backend == wgpu::Backend::Gl)
}

/// The WebGPU defaults, the largest buffers that the adapter has, and no more than it has of the rest.
pub(super) fn required_limits(adapter: &wgpu::Limits) -> wgpu::Limits {
    wgpu::Limits {
        max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size,
        max_buffer_size: adapter.max_buffer_size,
        // Descriptors are paid for in memory on DX12; a million is wgpu's default.
        max_non_sampler_bindings: 65_536,
        ..wgpu::Limits::default()
    }
    .or_worse_values_from(adapter)
}

/// What no executor can do without: the build step allows every kernel as much, and the self-test's largest tensor has
/// 16 MiB. The rest is as the device has it.
fn floor(device: &wgpu::Limits) -> wgpu::Limits {
    wgpu::Limits {
        max_bind_groups: 1,
        max_bindings_per_bind_group: 9,
        max_storage_buffers_per_shader_stage: 8,
        max_uniform_buffers_per_shader_stage: 1,
        max_uniform_buffer_binding_size: 256,
        max_storage_buffer_binding_size: 16 << 20,
        max_buffer_size: 18 << 20,
        max_compute_workgroup_storage_size: 16 << 10,
        max_compute_invocations_per_workgroup: 256,
        max_compute_workgroup_size_x: 256,
        max_compute_workgroups_per_dimension: 65_535,
        min_uniform_buffer_offset_alignment: 256,
        min_storage_buffer_offset_alignment: 256,
        ..device.clone()
    }
}

/// Everything that a device lacks, in one error.
pub(super) fn check_floor(name: &str, features: wgpu::Features, limits: &wgpu::Limits) -> Result<()> {
    let (mut need, mut have) = (Vec::new(), Vec::new());
    for (feature, _) in (super::required_features() - features).iter_names() {
        need.push(format!("feature {feature}"));
        have.push(format!("no {feature}"));
    }
    floor(limits).check_limits_with_fail_fn(limits, false, |limit, needed, there| {
        let bound = if limit.starts_with("min_") { "at most" } else { "at least" };
        need.push(format!("{limit} of {bound} {needed}"));
        have.push(format!("{limit} of {there}"));
    });
    if need.is_empty() {
        return Ok(());
    }
    Err(Error::Unsupported { what: format!("spikewave on {name}"), need: need.join(", "), have: have.join(", ") })
}

/// Bytes that the device could give out, where that is known: its largest heap of its own memory, and for a device that
/// shares the system's memory what is free of that.
pub(super) fn free_memory(adapter: &wgpu::Adapter) -> Option<u64> {
    let heap = heap_bytes(adapter);
    let info = adapter.get_info();
    let shared = is_software(&info) || info.device_type == wgpu::DeviceType::IntegratedGpu;
    match crate::device::available_memory().filter(|_| shared) {
        Some(free) => Some(heap.map_or(free, |heap| heap.min(free))),
        None => heap,
    }
}

#[cfg(not(any(target_vendor = "apple", target_family = "wasm")))]
fn heap_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    // VK_MEMORY_HEAP_DEVICE_LOCAL_BIT
    const DEVICE_LOCAL: u32 = 1;
    // SAFETY: only a property query of the physical device, which outlives the guard; nothing is kept or destroyed.
    let properties = unsafe {
        let raw = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        raw.shared_instance().raw_instance().get_physical_device_memory_properties(raw.raw_physical_device())
    };
    let heaps = properties.memory_heaps.iter().take(properties.memory_heap_count as usize);
    heaps.filter(|heap| heap.flags.as_raw() & DEVICE_LOCAL != 0).map(|heap| heap.size).max()
}

#[cfg(any(target_vendor = "apple", target_family = "wasm"))]
fn heap_bytes(_: &wgpu::Adapter) -> Option<u64> {
    None
}

/// Every adapter of these backends, the best first. No loader and no driver is an empty list.
pub(super) fn enumerate(backends: wgpu::Backends) -> Vec<(wgpu::Adapter, AdapterReport)> {
    let descriptor = wgpu::InstanceDescriptor {
        backends,
        // No indirect dispatches here, so none of the pipelines that would check them. Debugging is asked for by
        // WGPU_VALIDATION=1, and not by the build's profile.
        flags: wgpu::InstanceFlags::empty().with_env(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    let found = silently(|| pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(backends)));
    let mut adapters = found.unwrap_or_else(|message| {
        log::warn!("adapters could not be listed: {message}");
        Vec::new()
    });
    adapters.sort_by_key(|a| rank(&a.get_info()));
    let mut reports: Vec<AdapterReport> = adapters.iter().map(|a| report(&a.get_info())).collect();
    distinguish(&mut reports);
    adapters.into_iter().zip(reports).collect()
}

/// A name split into its backend, if it says one, and the rest in lower case.
fn parse(name: &str) -> (Option<wgpu::Backend>, String) {
    let lower = name.trim().to_lowercase();
    for (prefix, backend) in [
        ("vulkan:", wgpu::Backend::Vulkan),
        ("metal:", wgpu::Backend::Metal),
        ("dx12:", wgpu::Backend::Dx12),
        ("gl:", wgpu::Backend::Gl),
    ] {
        if let Some(rest) = lower.strip_prefix(prefix) {
            return (Some(backend), rest.trim().into());
        }
    }
    (None, lower)
}

/// Which of these a name means: the one whose whole name it is, or all of whose name, distinction or driver it is a part.
fn matching(name: &str, reports: &[AdapterReport]) -> Vec<usize> {
    let (backend, part) = parse(name);
    let whole = |r: &AdapterReport| r.choose_by().to_lowercase() == name.trim().to_lowercase();
    if let Some(one) = reports.iter().position(whole) {
        return vec![one];
    }
    let of = |r: &AdapterReport| {
        let distinction = r.distinction.as_ref().unwrap_or(&r.driver_info);
        let text = format!("{} [{distinction}]\n{}", r.name, r.driver_text());
        backend.is_none_or(|b| b.to_str() == r.backend) && text.to_lowercase().contains(&part)
    };
    (0..reports.len()).filter(|i| of(&reports[*i])).collect()
}

/// The adapters that a choice means, the best first, so that a broken one can be passed over.
///
/// GL is looked at only when a name is given that nothing else matches: its libraries are slow to start.
///
/// # Errors
/// `NoAdapter` with the names that would do; a list that is given has at least one.
pub(super) fn choose(choice: &Choice) -> Result<Vec<(wgpu::Adapter, AdapterReport)>> {
    let none = |wanted: &str, mut known: Vec<String>| {
        known.insert(0, "cpu".into());
        let hardware = if wanted == "gpu" { "; gpu means hardware" } else { "" };
        Error::NoAdapter { wanted: wanted.into(), known: known.join(", ") + hardware }
    };
    let names = |adapters: &[(wgpu::Adapter, AdapterReport)]| -> Vec<String> {
        adapters.iter().map(|(_, report)| report.choose_by()).collect()
    };
    let native = wgpu::Backends::PRIMARY;
    match choice {
        Choice::Cpu => Err(none("cpu", Vec::new())),
        Choice::Auto | Choice::Gpu => {
            let mut adapters = enumerate(native);
            let known = names(&adapters);
            adapters.retain(|(a, _)| !is_software(&a.get_info()));
            if adapters.is_empty() { Err(none("gpu", known)) } else { Ok(adapters) }
        }
        Choice::Named(name) => {
            let (backend, _) = parse(name);
            let mut known = Vec::new();
            for backends in [native, wgpu::Backends::GL] {
                if backend.is_some_and(|b| !backends.contains(b.into())) {
                    continue;
                }
                let adapters = enumerate(backends);
                known.extend(names(&adapters));
                let reports: Vec<AdapterReport> = adapters.iter().map(|(_, report)| report.clone()).collect();
                let meant = matching(name, &reports);
                if !meant.is_empty() {
                    let adapters = adapters.into_iter().enumerate().filter(|(i, _)| meant.contains(i));
                    return Ok(adapters.map(|(_, adapter)| adapter).collect());
                }
            }
            Err(none(name, known))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_refused_with_everything_that_it_lacks() {
        assert_eq!(check_floor("x", wgpu::Features::empty(), &wgpu::Limits::default()), Ok(()));
        let limits = wgpu::Limits {
            max_storage_buffers_per_shader_stage: 4,
            max_compute_workgroup_storage_size: 1024,
            ..wgpu::Limits::default()
        };
        let error = check_floor("x", wgpu::Features::empty(), &limits).unwrap_err().to_string();
        assert_eq!(
            error,
            "spikewave on x needs max_storage_buffers_per_shader_stage of at least 8, max_compute_workgroup_storage_size \
             of at least 16384, and the device has max_storage_buffers_per_shader_stage of 4, \
             max_compute_workgroup_storage_size of 1024"
        );
    }

    #[test]
    fn adapters_of_one_name_are_told_apart() {
        let of = |backend: &str, name: &str, driver_info: &str| AdapterReport {
            name: name.into(),
            backend: backend.into(),
            kind: "other",
            driver: "Intel".into(),
            driver_info: driver_info.into(),
            distinction: None,
        };
        let mut reports = [
            of("vulkan", "Arc", "Mesa 1"),
            of("vulkan", "Arc", "Mesa 2"),
            of("gl", "Arc", "Mesa 2"),
            of("vulkan", "Xe", "Mesa 1"),
            of("vulkan", "Xe", "Mesa 1"),
            of("vulkan", "Arc Pro", "Mesa 1"),
        ];
        distinguish(&mut reports);
        let names: Vec<String> = reports.iter().map(AdapterReport::choose_by).collect();
        assert_eq!(
            names,
            [
                "vulkan:Arc [Mesa 1]",
                "vulkan:Arc [Mesa 2]",
                "gl:Arc",
                "vulkan:Xe [Intel Mesa 1 #1]",
                "vulkan:Xe [Intel Mesa 1 #2]",
                "vulkan:Arc Pro"
            ]
        );
        for (i, name) in names.iter().enumerate() {
            assert_eq!(matching(&name.to_uppercase(), &reports), [i], "{name}");
        }
        for (name, meant) in [
            ("arc", &[0, 1, 2, 5][..]),
            ("vulkan:arc", &[0, 1, 5]),
            ("gl:ARC", &[2]),
            ("mesa 2", &[1, 2]),
            ("arc [mesa 2]", &[1, 2]),
            ("#2", &[4]),
            ("intel mesa 2", &[1, 2]),
            ("Arc Pro", &[5]),
            ("none", &[]),
        ] {
            assert_eq!(matching(name, &reports), meant, "{name}");
        }
    }

    #[test]
    fn names_may_say_their_backend() {
        assert_eq!(parse("gl:llvmpipe"), (Some(wgpu::Backend::Gl), "llvmpipe".into()));
        assert_eq!(parse("Vulkan:SwiftShader"), (Some(wgpu::Backend::Vulkan), "swiftshader".into()));
        assert_eq!(parse("GeForce RTX"), (None, "geforce rtx".into()));
    }
}
