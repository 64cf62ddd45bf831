//! A Vulkan layer that loses the first device of a process, or lets its allocations fail: what `tests/gpu_faults.rs`
//! puts below wgpu.
//!
//! When the device is created it reads from the environment
//!
//! - `LOST_AFTER=N`: N submissions work, and the next one loses the device;
//! - `LOST_ON_WAIT=N`: the first wait after N submissions loses it;
//! - `OOM_AFTER=N`: N allocations work.
//!
//! A lost device refuses submissions, waits and questions. Its driver goes on with what it was given, as a GPU may. Later
//! devices are spared, as long as there is an instance: with the last one the loader drops the layer and what it knows.
//!
//! The chain and its structures are those of the Vulkan loader's layer interface (LoaderLayerInterface.md, vk_layer.h).

use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A dispatchable object: its first word is the loader's, equal for a device and its queues.
type Handle = *mut c_void;
type Pointer = *const c_void;
type Status = i32;
type Function = Option<unsafe extern "system" fn()>;
type Get = unsafe extern "system" fn(Handle, *const c_char) -> Function;
type Create = unsafe extern "system" fn(Handle, *const Info, Pointer, *mut Handle) -> Status;
type CreateInstance = unsafe extern "system" fn(*const Info, Pointer, *mut Handle) -> Status;

const DEVICE_LOST: Status = -4;
const OUT_OF_DEVICE_MEMORY: Status = -2;
const INITIALIZATION_FAILED: Status = -3;
/// `VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO`, and the same of devices.
const OF_INSTANCE: i32 = 47;
const OF_DEVICE: i32 = 48;
/// `VK_LAYER_LINK_INFO`.
const LINK: i32 = 0;

/// What every creation is given, and what the loader has hung on it.
#[repr(C)]
struct Info {
    kind: i32,
    next: *mut Info,
    function: i32,
    link: *mut Link,
}

/// The layer below: of a device with both functions, of an instance with the first.
#[derive(Clone, Copy)]
#[repr(C)]
struct Link {
    next: *mut Link,
    instance_function: Get,
    device_function: Option<Get>,
}

struct Device {
    key: usize,
    below: Below,
    lost_after: u32,
    lost_on_wait: u32,
    oom_after: u32,
    submissions: AtomicU32,
    allocations: AtomicU32,
    lost: AtomicBool,
}

static INSTANCE_FUNCTION: OnceLock<Get> = OnceLock::new();
static DEVICE_FUNCTION: OnceLock<Get> = OnceLock::new();
static CREATE_DEVICE: OnceLock<Create> = OnceLock::new();
// The functions of the first instance serve all: the same layers lie below each instance of a process.

/// All devices so far; the last one of a key is the one that lives.
static DEVICES: Mutex<Vec<&'static Device>> = Mutex::new(Vec::new());

impl Device {
    fn alive(&self) -> Result<(), Status> {
        if self.lost.load(Ordering::SeqCst) { Err(DEVICE_LOST) } else { Ok(()) }
    }

    fn submits(&self) -> Result<(), Status> {
        if self.submissions.fetch_add(1, Ordering::SeqCst) >= self.lost_after {
            self.lost.store(true, Ordering::SeqCst);
        }
        self.alive()
    }

    fn waits(&self) -> Result<(), Status> {
        if self.submissions.load(Ordering::SeqCst) >= self.lost_on_wait {
            self.lost.store(true, Ordering::SeqCst);
        }
        self.alive()
    }

    fn allocates(&self) -> Result<(), Status> {
        let failed = self.allocations.fetch_add(1, Ordering::SeqCst) >= self.oom_after;
        if failed { Err(OUT_OF_DEVICE_MEMORY) } else { Ok(()) }
    }
}

/// The loader's word of an object.
///
/// # Safety
/// The object is one that Vulkan has given, and is there.
unsafe fn key(object: Handle) -> usize {
    // SAFETY: every dispatchable object begins with it.
    unsafe { *object.cast() }
}

/// The device of an object.
///
/// # Safety
/// As [`key`].
unsafe fn device(object: Handle) -> Option<&'static Device> {
    // SAFETY: the caller's.
    let key = unsafe { key(object) };
    let devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    devices.iter().rev().find(|device| device.key == key).copied()
}

/// The functions that are watched: what is asked before the call goes down.
macro_rules! watched {
    ($($name:literal $function:ident($($argument:ident: $type:ty),*) $asks:ident;)*) => {
        /// The same functions of the layer below.
        struct Below {
            $($function: Option<unsafe extern "system" fn(Handle, $($type),*) -> Status>,)*
        }

        impl Below {
            unsafe fn new(device: Handle, get: Get) -> Self {
                // SAFETY: Vulkan defines these types for these names.
                unsafe { Self { $($function: std::mem::transmute::<
                    Function,
                    Option<unsafe extern "system" fn(Handle, $($type),*) -> Status>,
                >(get(device, $name.as_ptr())),)* } }
            }
        }

        $(unsafe extern "system" fn $function(object: Handle, $($argument: $type),*) -> Status {
            // SAFETY: the object is one that Vulkan has given, and the arguments go on as they are.
            unsafe {
                let Some((device, below)) = device(object).and_then(|d| Some((d, d.below.$function?))) else {
                    return INITIALIZATION_FAILED;
                };
                device.$asks().map_or_else(|status| status, |()| below(object, $($argument),*))
            }
        })*

        fn watched(name: &CStr) -> Function {
            $(if name == $name {
                type Watched = unsafe extern "system" fn(Handle, $($type),*) -> Status;
                // SAFETY: whoever asks for the name calls it with its arguments.
                return unsafe { std::mem::transmute::<Watched, Function>($function) };
            })*
            None
        }
    };
}

watched! {
    c"vkQueueSubmit" queue_submit(count: u32, submits: Pointer, fence: u64) submits;
    c"vkQueueSubmit2" queue_submit2(count: u32, submits: Pointer, fence: u64) submits;
    c"vkQueueSubmit2KHR" queue_submit2_khr(count: u32, submits: Pointer, fence: u64) submits;
    c"vkWaitSemaphores" wait_semaphores(wait: Pointer, timeout: u64) waits;
    c"vkWaitSemaphoresKHR" wait_semaphores_khr(wait: Pointer, timeout: u64) waits;
    c"vkWaitForFences" wait_for_fences(count: u32, fences: Pointer, all: u32, timeout: u64) waits;
    c"vkQueueWaitIdle" queue_wait_idle() waits;
    c"vkDeviceWaitIdle" device_wait_idle() waits;
    c"vkGetSemaphoreCounterValue" counter_value(semaphore: u64, value: *mut u64) alive;
    c"vkGetSemaphoreCounterValueKHR" counter_value_khr(semaphore: u64, value: *mut u64) alive;
    c"vkGetFenceStatus" fence_status(fence: u64) alive;
    c"vkAllocateMemory" allocate_memory(info: Pointer, allocator: Pointer, memory: *mut u64) allocates;
}

/// The link to the layer below, which is taken off the chain for that one.
unsafe fn unlink(mut info: *mut Info, kind: i32) -> Option<Link> {
    // SAFETY: the loader's chain, in which only structures of this kind have more than the first two fields.
    unsafe {
        while !info.is_null() && ((*info).kind != kind || (*info).function != LINK) {
            info = (*info).next;
        }
        let link = *info.as_ref()?.link.as_ref()?;
        (*info).link = link.next;
        Some(link)
    }
}

unsafe extern "system" fn create_instance(info: *const Info, allocator: Pointer, instance: *mut Handle) -> Status {
    // SAFETY: the loader's call, handed on; the types are Vulkan's for these names.
    unsafe {
        let Some(link) = unlink(info.cast_mut(), OF_INSTANCE) else { return INITIALIZATION_FAILED };
        let get = link.instance_function;
        let create = get(std::ptr::null_mut(), c"vkCreateInstance".as_ptr());
        let Some(create) = std::mem::transmute::<Function, Option<CreateInstance>>(create) else {
            return INITIALIZATION_FAILED;
        };
        let status = create(info, allocator, instance);
        if status == 0 {
            INSTANCE_FUNCTION.get_or_init(|| get);
            let create = get(*instance, c"vkCreateDevice".as_ptr());
            std::mem::transmute::<Function, Option<Create>>(create).map(|create| CREATE_DEVICE.get_or_init(|| create));
        }
        status
    }
}

unsafe extern "system" fn create_device(
    physical: Handle,
    info: *const Info,
    allocator: Pointer,
    made: *mut Handle,
) -> Status {
    // SAFETY: the loader's call, handed on.
    unsafe {
        let link = unlink(info.cast_mut(), OF_DEVICE).and_then(|link| link.device_function);
        let (Some(get), Some(create)) = (link, CREATE_DEVICE.get()) else { return INITIALIZATION_FAILED };
        let status = create(physical, info, allocator, made);
        if status == 0 {
            DEVICE_FUNCTION.get_or_init(|| get);
            let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
            let first = devices.is_empty();
            let fault = |name| std::env::var(name).ok().filter(|_| first)?.parse().ok();
            let fault = |name| fault(name).unwrap_or(u32::MAX);
            devices.push(Box::leak(Box::new(Device {
                key: key(*made),
                below: Below::new(*made, get),
                lost_after: fault("LOST_AFTER"),
                lost_on_wait: fault("LOST_ON_WAIT"),
                oom_after: fault("OOM_AFTER"),
                submissions: AtomicU32::new(0),
                allocations: AtomicU32::new(0),
                lost: AtomicBool::new(false),
            })));
        }
        status
    }
}

/// What the loader asks for the layer's functions of a device.
///
/// # Safety
/// As `vkGetDeviceProcAddr`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn fault_layer_device_function(device: Handle, name: *const c_char) -> Function {
    // SAFETY: the caller's.
    unsafe {
        let own = match CStr::from_ptr(name) {
            name if name == c"vkGetDeviceProcAddr" => {
                std::mem::transmute::<Get, Function>(fault_layer_device_function as Get)
            }
            name => watched(name),
        };
        let below = DEVICE_FUNCTION.get().and_then(|get| get(device, name));
        // What the device has not is not watched either.
        below.and(own).or(below)
    }
}

/// What the loader asks for the layer's functions of an instance.
///
/// # Safety
/// As `vkGetInstanceProcAddr`.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn fault_layer_instance_function(instance: Handle, name: *const c_char) -> Function {
    // SAFETY: the caller's; whoever asks for a name calls it with its arguments.
    unsafe {
        let own = match CStr::from_ptr(name) {
            n if n == c"vkGetInstanceProcAddr" => {
                std::mem::transmute::<Get, Function>(fault_layer_instance_function as Get)
            }
            n if n == c"vkGetDeviceProcAddr" => {
                std::mem::transmute::<Get, Function>(fault_layer_device_function as Get)
            }
            n if n == c"vkCreateInstance" => {
                std::mem::transmute::<CreateInstance, Function>(create_instance as CreateInstance)
            }
            n if n == c"vkCreateDevice" => std::mem::transmute::<Create, Function>(create_device as Create),
            n => watched(n),
        };
        own.or_else(|| INSTANCE_FUNCTION.get()?(instance, name))
    }
}
