//! `bench`: builds what is released, measures it beside what it is compared with, and writes
//! `docs/benchmarks.md`, its plots, and the figures by which the next run says what has moved.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::debian::{self, Needed};
use crate::programs::Programs;
use crate::workspace::Workspace;
use crate::{build, process, programs};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measure for a short time, say which ratios have moved, and write nothing
    #[arg(long)]
    quick: bool,
    /// What is measured: hooks, redirect, proxy, first, memory, scale, profile (else all of them)
    #[arg(value_name = "PART")]
    parts: Vec<String>,
}

/// The parts whose figures come from the agent's own tests.
const SIMULATED: [&str; 2] = ["memory", "scale"];
const PROFILE: &str = "profile";

const NEEDED: [Needed; 3] = [
    Needed { command: "ip", package: "iproute2" },
    Needed { command: "nft", package: "nftables" },
    Needed { command: "wrk", package: "wrk" },
];
const PERF: Needed = Needed { command: "perf", package: "linux-perf" };

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    if !debian::is_root() {
        bail!("measuring makes cgroups and network namespaces: run it as root");
    }
    debian::install_for(&NEEDED)?;
    let Arguments { quick, parts } = arguments;
    let is_meant = |name: &str| parts.is_empty() || parts.iter().any(|part| part == name);
    if !quick && is_meant(PROFILE) {
        debian::install_for(&[PERF])?;
    }
    let programs = programs::build(workspace)?;
    let agent = build::release_agent_with_tests(workspace, &programs)?;
    let mut bench = workspace.command(agent.with_file_name("podrole-bench"));
    bench.env("PODROLE_AGENT", &agent).arg("measure").args(parts);
    bench.arg("--checkout").arg(workspace.root()).args(quick.then_some("--quick"));
    if SIMULATED.into_iter().any(is_meant) {
        bench.arg("--simulations").arg(simulations(workspace, &programs)?);
    }
    process::run(&mut bench)
}

/// The agent's own tests, optimised: simulations of days take minutes without.
fn simulations(workspace: &Workspace, programs: &Programs) -> Result<PathBuf> {
    let mut cargo = build::cargo(workspace, programs);
    cargo.args(["test", "--profile", "simulation", "--package", "podrole", "--lib", "--no-run"]);
    process::run(&mut cargo).context("cannot build the simulations")?;
    let said = process::output(cargo.args(["--message-format", "json"]))?;
    executable(&said).context("cargo named no test binary")
}

/// The binary that cargo's messages name (Cargo Book, "External tools").
fn executable(messages: &str) -> Option<PathBuf> {
    const KEY: &str = "\"executable\":\"";
    let (_, rest) = messages.rsplit_once(KEY)?;
    rest.split_once('"').map(|(path, _)| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_binary_is_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/t/podrole-1\",\"fresh\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/podrole-1")));
        assert_eq!(executable("{\"executable\":null}"), None);
    }
}
