//! `waveoff sim serve`.
use std::{net::SocketAddr, path::Path};

pub(super) async fn serve(
    _fleet: Option<&Path>,
    _listen: SocketAddr,
    _metrics_port: u16,
) -> anyhow::Result<i32> {
    anyhow::bail!("not built yet")
}
