//! `build`: the agent's binary, with the eBPF programs in it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::programs::{self, OBJECT_VARIABLE, Programs};
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build without optimisation, sharing what the tests build
    #[arg(long)]
    debug: bool,
}

/// The packages that build with the host's compiler. Always named together: Cargo unites the
/// features of the packages that it is given, and each other choice compiles dependencies again.
pub(crate) const USERSPACE: [&str; 6] =
    ["--package", "podrole", "--package", "podrole-tests", "--package", "xtask"];

pub(crate) fn run(workspace: &Workspace, &Arguments { debug }: &Arguments) -> Result<()> {
    let programs = programs::build(workspace)?;
    let agent = if debug {
        debug_agent(workspace, &programs, Beside::Nothing)?
    } else {
        release_agent(workspace, &programs)?
    };
    let rustc = process::output(workspace.command("rustc").arg("--version"))?;
    println!("built with {}; the eBPF programs with {}", rustc.trim(), programs.versions);
    println!("{}", agent.display());
    Ok(())
}

/// Which binaries are built besides the agent.
#[derive(Clone, Copy)]
pub(crate) enum Beside {
    Nothing,
    /// The demo, the pretend servers.
    All,
}

/// Builds the agent without optimisation; returns its path.
pub(crate) fn debug_agent(
    workspace: &Workspace,
    programs: &Programs,
    beside: Beside,
) -> Result<PathBuf> {
    let mut cargo = cargo(workspace, programs);
    // Examples unite the features of dev-dependencies as tests do.
    cargo.arg("build").args(USERSPACE).arg("--examples");
    match beside {
        Beside::Nothing => cargo.args(["--bin", "podrole"]),
        Beside::All => cargo.arg("--bins"),
    };
    process::run(&mut cargo).context("cannot build the agent")?;
    there(workspace.target().join("debug/podrole"))
}

fn release_agent(workspace: &Workspace, programs: &Programs) -> Result<PathBuf> {
    let mut cargo = cargo(workspace, programs);
    cargo.args(["build", "--release", "--package", "podrole"]);
    process::run(&mut cargo).context("cannot build the agent")?;
    there(workspace.target().join("release/podrole"))
}

/// Builds the agent as it is released, and the programs of the tests beside it in the same way; returns
/// the agent's path.
pub(crate) fn release_agent_with_tests(
    workspace: &Workspace,
    programs: &Programs,
) -> Result<PathBuf> {
    let mut cargo = cargo(workspace, programs);
    cargo.args(["build", "--release", "--package", "podrole", "--package", "podrole-tests"]);
    process::run(cargo.arg("--bins")).context("cannot build the agent")?;
    there(workspace.target().join("release/podrole"))
}

/// Cargo for anything that compiles the agent: the same variable always, so that nothing is
/// compiled twice.
pub(crate) fn cargo(workspace: &Workspace, programs: &Programs) -> Command {
    let mut cargo = workspace.cargo();
    cargo.env(OBJECT_VARIABLE, &programs.object);
    cargo
}

fn there(binary: PathBuf) -> Result<PathBuf> {
    if !binary.is_file() {
        bail!("cargo left no {} behind", binary.display());
    }
    Ok(binary)
}
