//! What can be said about the code without running it.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, USERSPACE};
use crate::cargo_tool::CargoTool;
use crate::process;
use crate::programs::Programs;
use crate::workspace::Workspace;

pub(super) fn format(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args(["fmt", "--all", "--check"]))
}

/// Of all that builds on the host: the userspace packages and the contract's library.
pub(super) fn clippy(workspace: &Workspace, programs: &Programs) -> Result<()> {
    let mut userspace = build::cargo(workspace, programs);
    userspace.arg("clippy").args(USERSPACE).arg("--all-targets");
    process::run(deny_warnings(&mut userspace))?;
    let mut contract = workspace.cargo();
    contract.args(["clippy", "--package", "podrole-ebpf", "--lib"]);
    process::run(deny_warnings(&mut contract))
}

/// No clippy comes with the compilers for the BPF target. The host's reads the programs as if they
/// were the host's: `podrole_lint` gives them their dependencies, and without unwinding a program
/// without `std` is one.
pub(super) fn clippy_of_programs(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-Cpanic=abort --cfg=podrole_lint");
    cargo.args(["clippy", "--package", "podrole-ebpf", "--bin", "podrole-programs"]);
    cargo.arg("--target-dir").arg(workspace.target().join("lint"));
    process::run(deny_warnings(&mut cargo))
}

/// Licences, bans and sources need no network; the advisories' host cannot be reached everywhere.
pub(super) fn dependencies(workspace: &Workspace, advisories: bool) -> Result<()> {
    let cargo_deny = CargoTool {
        name: "cargo-deny",
        version: "0.20.2",
        variant: String::new(),
        features: Vec::new(),
        variables: Vec::new(),
    };
    let program = cargo_deny.install(workspace)?;
    // It looks at every platform's dependencies; those of others may not be here yet.
    process::run(workspace.cargo().args(["fetch", "--quiet"]))?;
    let mut deny = workspace.command(&program);
    process::run(deny.args(["--offline", "check", "bans", "licenses", "sources"]))?;
    if advisories {
        process::run(workspace.command(&program).args(["check", "advisories"]))?;
    }
    Ok(())
}

pub(super) fn documentation(workspace: &Workspace, programs: &Programs) -> Result<()> {
    let document = |mut cargo: Command, what: &[&str]| {
        cargo.env("RUSTDOCFLAGS", "-Dwarnings").args(["doc", "--no-deps"]).args(what);
        process::run(&mut cargo)
    };
    document(workspace.cargo(), &["--package", "podrole-ebpf", "--lib"])?;
    // As in `build::debug_agent`: the examples that are not there unite the features.
    let userspace = [USERSPACE.as_slice(), &["--lib", "--bins", "--examples"]].concat();
    document(build::cargo(workspace, programs), &userspace)
}

fn deny_warnings(clippy: &mut Command) -> &mut Command {
    clippy.args(["--", "-Dwarnings"])
}
