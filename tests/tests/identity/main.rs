//! Who is calling is told by the cgroup of the socket, whatever its address says.

mod addresses;
mod api_server;
mod cgroups;
mod sockets;

use anyhow::{Context as _, Result, bail};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{Answer, LIST, METADATA, Request};
use podrole_tests::kubernetes::Telling;
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::process;
use podrole_tests::vectors::attack::{Attack, Report, Transport, Way};
use podrole_tests::wait::PATIENCE;

/// Whether the pod has the node's credentials, as every pod has without podrole.
fn has_leak(pod: &Pod<'_>) -> Result<bool> {
    Ok(pod.node_credentials()?.is_some())
}

/// Runs a test that makes the API server lag, which a real one cannot be told to.
fn with_lag(test: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    Cluster::with(|cluster| {
        if !cluster.kubernetes.is_pretend() {
            println!("not run: a real API server cannot be made to lag");
            return Ok(());
        }
        test(cluster)
    })
}

/// Keeps changes of pods back from all who watch, or no longer.
fn hold_watches(cluster: &Cluster, held: bool) -> Result<()> {
    let resource = Some("pods".to_owned());
    cluster.kubernetes.tell(&Telling { resource, held, ..Telling::default() })
}

/// A request for the role list, to be sent in an unusual way.
fn asking() -> Result<Attack> {
    asking_at(METADATA)
}

fn asking_at(address: &str) -> Result<Attack> {
    let attack = Attack::new(Transport::Tcp, address.parse()?, Way::Connect);
    Ok(attack.bytes(Request::get(LIST).bytes()))
}

/// Sends it from `place`.
fn send(place: &Place, attack: &Attack) -> Result<Answer> {
    let mut command = place.command(process::own_binary("podrole-vectors")?)?;
    command.arg("attack").arg(serde_json::to_string(attack)?);
    let finished = process::run(&mut command, b"", PATIENCE)?;
    answer(&serde_json::from_str(&finished.ok()?)?)
}

/// The answer to a request for the role list.
fn answer(report: &Report) -> Result<Answer> {
    match report {
        Report::Ran(exchange) => Request::get(LIST)
            .answer(&exchange.answer())
            .with_context(|| format!("{:?}", exchange.failure)),
        Report::Missing(reason) => bail!("{reason}"),
    }
}
