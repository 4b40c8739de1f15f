//! What measurements stand on: processors for the two sides, servers to ask, the programs alone.

use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result};

use crate::agent;
use crate::cluster::{Cluster, NODE_ADDRESSES};
use crate::place::Place;
use crate::process::{self, Process};
use crate::wait::PATIENCE;

/// Where the bare server listens beside the proxy.
pub(super) const BARE: &str = "10.0.0.10:18080";
/// Where the proxy listens.
pub(super) const PROXY: &str = "10.0.0.10:16925";

/// Which processor clients stay on, and which one servers do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processors {
    pub(super) client: usize,
    pub(super) server: usize,
}

/// Two that are not the same, where there are two.
pub(super) fn processors() -> Processors {
    let all = thread::available_parallelism().map_or(1, usize::from);
    Processors { client: 0, server: all.min(2) - 1 }
}

/// Measures on a cluster of its own.
pub(super) fn on_cluster<T>(measure: impl FnOnce(&Cluster) -> Result<T>) -> Result<T> {
    let mut measured = None;
    Cluster::with(|cluster| {
        measured = Some(measure(cluster)?);
        Ok(())
    })?;
    measured.context("the cluster was not used")
}

impl Cluster {
    /// A server that takes connections and bytes.
    pub(super) fn sink(&self, place: &Place, addresses: &[&str]) -> Result<Process> {
        let mut command = place.command(process::own_binary("podrole-bench")?)?;
        command.args(["sink", "--processor", &processors().server.to_string()]).args(addresses);
        let mut sink = Process::spawn("a sink", &mut command, &self.fresh_file("sink")?)?;
        sink.wait_for_lines("listening on", addresses.len())?;
        Ok(sink)
    }

    /// The bare server, with one task queue for all of these addresses.
    pub(super) fn bare(&self, at: &[(&Place, &str)], answer: &[u8]) -> Result<Process> {
        let file = self.fresh_file("answer")?;
        std::fs::write(&file, answer)?;
        let mut command = self.node_place().command(process::own_binary("podrole-bench")?)?;
        command.args(["bare", "--processor", &processors().server.to_string(), "--answer"]);
        command.arg(file);
        for (place, address) in at {
            command.arg(format!("{}={address}", place.namespace.display()));
        }
        let mut server = Process::spawn("bare", &mut command, &self.fresh_file("bare")?)?;
        server.wait_for_lines("listening on", at.len())?;
        Ok(server)
    }

    /// The programs as an agent attaches them, without an agent.
    pub(super) fn attach(&self) -> Result<()> {
        let path = |path: &Path| path.display().to_string();
        let (pods, bpf_fs) = (path(&self.pod_cgroup()), path(self.bpf_fs.path()));
        let [v4, v6] = NODE_ADDRESSES;
        let flags = ["attach", "--pod-cgroup", &pods, "--bpf-fs", &bpf_fs];
        self.podrole(&[&flags[..], &["--listen", v4, "--listen", v6]].concat())?.ok()?;
        Ok(())
    }
}

/// What no program of the pods' cgroup sees, in a pod's network.
pub(super) fn outside_of_pods(cluster: &Cluster, pod: &Place) -> Place {
    Place { cgroup: cluster.node_place().cgroup, ..pod.clone() }
}

/// Runs a program of the system in a place, with something on its standard input.
pub(super) fn run(place: &Place, program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut command = place.command(program)?;
    let finished = process::run(command.args(arguments), input.as_bytes(), PATIENCE)?;
    finished.ok().with_context(|| format!("{program} {}", arguments.join(" ")))?;
    Ok(())
}

/// Where the binary under test is: said here so that a bench without one fails at once.
pub(super) fn agent_there() -> Result<()> {
    agent::binary().map(drop)
}

/// The numbers from 0, those of a lot in turn from another one on: nobody is always the first.
pub(super) fn turn(lot: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..lot).map(move |place| (place + round) % lot)
}
