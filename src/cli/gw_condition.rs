//! x
pub fn psd(_: &super::gw::PsdArgs) -> spikewave::Result<()> {
    Ok(())
}
pub fn whiten(_: &super::gw::WhitenArgs) -> spikewave::Result<()> {
    Ok(())
}
