//! A nightly from rustup, which builds `core` from its sources.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Compiler, Way};
use crate::process;
use crate::workspace::Workspace;

/// The nightly that is installed where there is none.
const PINNED: &str = "nightly-2026-05-20";

/// The major version of that nightly's LLVM.
pub(super) const LLVM: u32 = 22;

/// Seconds that rustup may take, should its server not answer.
const DEADLINE: &str = "300";

/// A nightly that has the sources.
pub(super) fn installed() -> Result<Compiler> {
    let name = names().into_iter().find(|name| has_sources(name));
    compiler(&name.context("rustup has no nightly with the sources of core")?)
}

/// Adds what is missing: the nightly, its sources.
pub(super) fn install() -> Result<Compiler> {
    if process::on_path("rustup").is_none() {
        bail!("there is no rustup on PATH");
    }
    match names().first() {
        Some(name) if has_sources(name) => bail!("{name} needs nothing more from rustup"),
        Some(name) => {
            println!("adding rust-src to the toolchain {name}");
            download(&["component", "add", "rust-src", "--toolchain", name])?;
            compiler(name)
        }
        None => {
            println!("installing the toolchain {PINNED}");
            let minimal = ["--profile", "minimal", "--component", "rust-src"];
            download(&[["toolchain", "install", PINNED].as_slice(), &minimal].concat())?;
            compiler(PINNED)
        }
    }
}

pub(super) fn cargo_build(workspace: &Workspace, name: &str) -> Command {
    let mut cargo = rustup(workspace.command("rustup"));
    cargo.args(["run", name, "cargo", "build", "-Zbuild-std=core"]);
    cargo
}

/// What a person would type.
pub(super) fn command_line() -> String {
    format!("rustup toolchain install {PINNED} --profile minimal --component rust-src")
}

/// The nightlies that are installed, the pinned one first.
fn names() -> Vec<String> {
    let listed = process::output(Command::new("rustup").args(["toolchain", "list", "--quiet"]));
    let mut names: Vec<_> = nightlies(&listed.unwrap_or_default()).collect();
    names.sort_by_key(|name| !name.starts_with(PINNED));
    names
}

fn nightlies(listed: &str) -> impl Iterator<Item = String> {
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).map(str::to_owned)
}

/// `-Z build-std` reads this file first.
fn has_sources(name: &str) -> bool {
    let rustc =
        process::output(Command::new("rustup").args(["which", "--toolchain", name, "rustc"]));
    let Ok(rustc) = rustc else { return false };
    let toolchain = Path::new(rustc.trim()).parent().and_then(Path::parent);
    toolchain.is_some_and(|path| path.join("lib/rustlib/src/rust/library/Cargo.lock").is_file())
}

fn compiler(name: &str) -> Result<Compiler> {
    let mut rustc = rustup(Command::new("rustup"));
    Compiler::ask(Way::Nightly(name.to_owned()), rustc.args(["run", name, "rustc"]))
}

fn download(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("timeout");
    command.args(["--foreground", DEADLINE, "rustup"]).args(arguments);
    process::output(&mut command).context("rustup cannot download the sources of core")?;
    Ok(())
}

/// Without the library path of the toolchain that runs us.
fn rustup(mut command: Command) -> Command {
    command.env_remove("LD_LIBRARY_PATH");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nightlies_are_told_from_other_toolchains() {
        let listed = "stable-x86_64-unknown-linux-gnu (active, default)\n\
                      nightly-x86_64-unknown-linux-gnu\nnightly-2026-05-20-x86_64-unknown-linux-gnu\n";
        let names: Vec<_> = nightlies(listed).collect();
        let expected =
            ["nightly-x86_64-unknown-linux-gnu", "nightly-2026-05-20-x86_64-unknown-linux-gnu"];
        assert_eq!(names, expected);
    }
}
