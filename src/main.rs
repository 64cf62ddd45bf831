//! The program: `spikewave --help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Mesa's device-select layer complains on standard error wherever there is no desktop session. It has nothing to
    // select here, and the variable that leaves it out must be set before any thread reads the environment.
    if cfg!(target_os = "linux") && std::env::var_os("MESA_VK_DEVICE_SELECT").is_none() {
        // SAFETY: no other thread has been started.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    cli::main()
}
