//! Builds the eBPF programs into the object that the agent carries.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::bpf_toolchain::BpfToolchain;
use crate::process;
use crate::workspace::Workspace;

/// Tells the agent's build script which object to embed.
pub(crate) const OBJECT_VARIABLE: &str = "PODROLE_EBPF_OBJECT";

/// The programs, built.
pub(crate) struct Programs {
    /// The absolute path of the object.
    pub(crate) object: PathBuf,
    /// With what they were built.
    pub(crate) versions: String,
}

/// Builds them; returns at once where nothing has changed.
pub(crate) fn build(workspace: &Workspace) -> Result<Programs> {
    let toolchain = BpfToolchain::find_or_install(workspace)?;
    let target = workspace.target().join("ebpf");
    let mut cargo = toolchain.cargo_build(workspace)?;
    cargo.args(["--package", "podrole-ebpf", "--bin", "podrole-programs", "--profile", "ebpf"]);
    cargo.arg("--target-dir").arg(&target);
    process::run(&mut cargo).context("cannot build the eBPF programs")?;
    let object = target.join("bpfel-unknown-none/ebpf/podrole-programs");
    if !object.is_file() {
        bail!("cargo left no {} behind", object.display());
    }
    let versions = format!("{}, {}", toolchain.compiler, toolchain.linker.version);
    Ok(Programs { object, versions })
}
