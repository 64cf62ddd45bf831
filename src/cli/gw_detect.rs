//! `spikewave gw detect`.

use super::gw::DetectArgs;

pub fn run(_args: &DetectArgs) -> spikewave::Result<()> {
    Err(spikewave::Error::Internal("not there yet".into()))
}
