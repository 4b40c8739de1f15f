//! `demo`: builds all that the demonstration needs and becomes it.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, bail};

use crate::build::Beside;
use crate::clients::Which;
use crate::workspace::Workspace;
use crate::{build, clients, debian, process, programs};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave the pretend node up until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(workspace: &Workspace, &Arguments { keep }: &Arguments) -> Result<()> {
    if !debian::is_root() {
        bail!("the demo makes cgroups and network namespaces: run it as root");
    }
    let clients = clients::install(workspace, Which::Few)?;
    let programs = programs::build(workspace)?;
    let agent = build::debug_agent(workspace, &programs, Beside::All)?;
    let mut demo = workspace.command(workspace.target().join("debug/podrole-demo"));
    demo.arg("--agent").arg(agent).args(keep.then_some("--keep"));
    demo.envs(clients.variables());
    // In our place, so that Ctrl-C and the exit code are its own.
    Err(demo.exec()).with_context(|| format!("cannot start: {}", process::shown(&demo)))
}
