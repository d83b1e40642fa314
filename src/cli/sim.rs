//! `waveoff sim serve`: a simulated Fly organization on loopback addresses.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};

use super::LogFormat;
use crate::{
    ports::Clock,
    sim::{
        Fleet, Sim, fleet,
        serve::{self, Options},
    },
};

pub(super) async fn serve(
    file: Option<&Path>,
    listen: SocketAddr,
    metrics_port: Option<u16>,
    options: Options,
) -> anyhow::Result<i32> {
    super::run::start_log(LogFormat::Text)?;
    let mut fleet = match file {
        None => fleet::demo(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read the fleet {}", path.display()))?;
            match Fleet::parse(&text) {
                Ok(fleet) => fleet,
                Err(problem) => {
                    super::text::complain(&format!("waveoff: {}: {problem}", path.display()))?;
                    return Ok(2);
                }
            }
        }
    };
    fleet.metrics_port = metrics_port.unwrap_or(fleet.metrics_port);
    let mut reserved = Vec::new();
    for port in [&mut fleet.metrics_port, &mut fleet.service_port] {
        if *port == 0 {
            let (socket, free) = reserve_port().context("find a free port for the machines")?;
            *port = free;
            reserved.push(socket);
        }
    }
    anyhow::ensure!(
        listen.ip().is_loopback(),
        "{listen} is not a loopback address: the simulated platform lets anybody in; give --listen one, such as 127.0.0.1:4280"
    );
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("listen on {listen} (--listen says where; port 0 is one that is free)")
    })?;
    let address = listener.local_addr().context("read the address that is listened on")?;
    // Told to stop before anybody is told where to look.
    let stop = super::run::told_to_stop()?;
    let sim = Sim::new(&fleet, Clock::system());
    print_environment(address).context("write to the terminal")?;
    let metrics = tokio::spawn(serve::metrics::serve(sim.clone()));
    let served = serve::serve(sim, listener, options, stop).await;
    metrics.abort();
    drop(reserved);
    served.context("serve the platform")?;
    Ok(0)
}

/// A port that is free on every loopback address. While the socket lives, nobody else is given it;
/// it never listens, so that the machines can.
pub(super) fn reserve_port() -> std::io::Result<(TcpSocket, u16)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

/// What to export for `waveoff run` and for `flyctl`.
fn print_environment(address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "# The simulated platform; its controls are at http://{address}/_sim/state")?;
    writeln!(out, "# For `waveoff run` and flyctl:")?;
    for name in ["FLY_API_BASE_URL", "FLY_FLAPS_BASE_URL", "FLY_UIEX_BASE_URL"] {
        writeln!(out, "export {name}=http://{address}")?;
    }
    writeln!(out, "export FLY_API_TOKEN=sim-token")?;
    writeln!(out, "export FLY_REGISTRY_HOST={address}")?;
    writeln!(out, "# For flyctl besides, so that it stays on this machine:")?;
    writeln!(out, "unset FLY_ACCESS_TOKEN")?;
    writeln!(out, "export FLY_CONFIG_DIR=\"$(mktemp -d)\"")?;
    // Over websockets it would ask the private network's gateway, which is not there.
    writeln!(out, "echo 'wire_guard_websockets: false' > \"$FLY_CONFIG_DIR/config.yml\"")?;
    writeln!(out, "export FLY_TRACE_COLLECTOR_URL=127.0.0.1")?;
    writeln!(out, "export FLY_NO_UPDATE_CHECK=1 FLY_NO_INCIDENTS_CHECK=1 FLY_SEND_METRICS=0")?;
    out.flush()
}
