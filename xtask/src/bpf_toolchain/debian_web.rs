//! Debian's own compiler (the one that it builds its browsers with), which comes with a prebuilt
//! `core` for the BPF target.

use std::process::Command;

use anyhow::{Result, bail};

use super::{Compiler, Way};
use crate::debian;
use crate::workspace::Workspace;

pub(super) const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// By their whole names: rustup's come first on `PATH`.
const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";

/// The compiler, if all of it is there.
pub(super) fn installed() -> Result<Compiler> {
    let missing = debian::missing(&PACKAGES);
    if !missing.is_empty() {
        bail!("Debian's compiler is not installed: {}", missing.join(" "));
    }
    compiler()
}

/// Adds the packages that are missing.
pub(super) fn install() -> Result<Compiler> {
    if debian::missing(&PACKAGES).is_empty() {
        bail!("Debian's compiler needs no more packages");
    }
    debian::install(&PACKAGES)?;
    compiler()
}

pub(super) fn cargo_build(workspace: &Workspace) -> Command {
    let mut cargo = rustup_unseen(workspace.command(CARGO));
    // aya-ebpf uses one unstable feature: inline assembly for BPF.
    cargo.arg("build").env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
    cargo
}

fn compiler() -> Result<Compiler> {
    let compiler = Compiler::ask(Way::Debian, &mut rustup_unseen(Command::new(RUSTC)))?;
    let name = compiler.name.replace("built from a source tarball", "Debian's");
    Ok(Compiler { name, ..compiler })
}

/// Without what rustup's cargo tells the programs that it runs.
fn rustup_unseen(mut command: Command) -> Command {
    for name in ["LD_LIBRARY_PATH", "RUSTUP_TOOLCHAIN", "RUSTC", "RUSTDOC"] {
        command.env_remove(name);
    }
    command
}
