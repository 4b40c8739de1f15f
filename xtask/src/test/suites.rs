//! Running the tests: those of the packages themselves, then those that need the kernel.

use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::Result;

use crate::build::{self, USERSPACE};
use crate::clients::Clients;
use crate::process;
use crate::programs::Programs;
use crate::workspace::Workspace;

/// What the kernel tests find the agent by.
const AGENT_VARIABLE: &str = "PODROLE_AGENT";

pub(super) fn unit(workspace: &Workspace, programs: &Programs, filter: &[String]) -> Result<()> {
    let mut contract = workspace.cargo();
    contract.args(["test", "--package", "podrole-ebpf", "--lib"]);
    process::run(filtered(&mut contract, filter))?;
    let mut userspace = build::cargo(workspace, programs);
    userspace.arg("test").args(USERSPACE).args(["--lib", "--bins"]);
    process::run(filtered(&mut userspace, filter))?;
    let mut examples = build::cargo(workspace, programs);
    examples.arg("test").args(USERSPACE).arg("--doc");
    process::run(filtered(&mut examples, filter))
}

/// The integration tests: the built agent on pretend nodes.
pub(super) fn kernel(
    workspace: &Workspace,
    programs: &Programs,
    agent: &Path,
    clients: &Clients,
    filter: &[String],
) -> Result<()> {
    let mut cargo = build::cargo(workspace, programs);
    cargo.env(AGENT_VARIABLE, agent).envs(clients.variables());
    cargo.env("RUST_TEST_THREADS", at_once().to_string());
    // All of them, so that one run tells everything that fails.
    cargo.arg("test").args(USERSPACE).args(["--no-fail-fast", "--test", "*"]);
    process::run(filtered(&mut cargo, filter))
}

/// More than processors: about half of the time these tests wait for what they watch.
fn at_once() -> usize {
    thread::available_parallelism().map_or(2, |processors| processors.get() + 1)
}

fn filtered<'a>(cargo: &'a mut Command, filter: &[String]) -> &'a mut Command {
    cargo.arg("--").args(filter)
}
