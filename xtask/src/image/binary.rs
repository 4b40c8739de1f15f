//! The agent as a static binary, in which no path of this machine is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Error, Result, bail};
use oci_spec::image::Arch;

use crate::arm64::{Arm64, TRIPLE};
use crate::programs::Programs;
use crate::workspace::Workspace;
use crate::{process, programs, reproducible};

/// A processor that nodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Platform {
    Amd64,
    Arm64,
}

impl Platform {
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// As the OCI's specifications have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        }
    }

    pub(super) fn arch(self) -> &'static Arch {
        match self {
            Self::Amd64 => &Arch::Amd64,
            Self::Arm64 => &Arch::ARM64,
        }
    }

    /// As Rust has it.
    fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => TRIPLE,
        }
    }

    /// This machine's, if it is one of them.
    pub(super) fn own() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }
}

/// Builds it, statically linked with glibc: since 2.34 its resolver is a part of it, so names are looked
/// up without any library at hand.
pub(crate) fn build(
    workspace: &Workspace,
    platform: Platform,
    programs: &Programs,
) -> Result<PathBuf> {
    let built = compiled(workspace, platform, programs)
        .with_context(|| format!("cannot build for {}", platform.name()))?;
    if let Some(interpreter) = interpreter(&built)? {
        bail!("{} is not static: it wants {interpreter}", built.display());
    }
    let place = workspace.target().join("image/bin").join(platform.arch().to_string());
    fs::create_dir_all(&place).context("cannot make a directory for the binary")?;
    // The next `cargo build` puts a dynamic one where cargo left it.
    let binary = place.join("podrole");
    fs::copy(&built, &binary).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(binary)
}

/// Where cargo leaves it. All of it is compiled with these flags, dependencies too; macros and build
/// scripts are not, as the target is named.
fn compiled(workspace: &Workspace, platform: Platform, programs: &Programs) -> Result<PathBuf> {
    let triple = platform.triple();
    let mut flags = reproducible::rust_flags(workspace)?;
    flags.push("-Ctarget-feature=+crt-static".to_owned());
    let mut cargo = if Platform::own() == Some(platform) {
        workspace.cargo()
    } else if platform == Platform::Arm64 {
        let toolchain = Arm64::find_or_install(workspace)?;
        flags.extend(toolchain.flags());
        toolchain.cargo(workspace)
    } else {
        bail!("no cross compiler for {triple} is known");
    };
    cargo.args(["build", "--release", "--locked", "--package", "podrole", "--bin", "podrole"]);
    cargo.args(["--target", triple]);
    cargo.env(programs::OBJECT_VARIABLE, &programs.object);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.env(format!("CFLAGS_{}", triple.replace('-', "_")), reproducible::c_flags(workspace)?);
    process::run(&mut cargo).context("its build fails")?;
    Ok(workspace.target().join(triple).join("release/podrole"))
}

/// What stands below "cannot build for": a sentence of ours, without the places of this machine.
pub(super) fn why_missing(error: &Error) -> String {
    error.chain().nth(1).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The loader that a program asks for, by readelf(1).
fn interpreter(binary: &Path) -> Result<Option<String>> {
    let said = process::output(Command::new("readelf").arg("--program-headers").arg(binary))?;
    let line = said.lines().find(|line| line.contains("Requesting program interpreter"));
    Ok(line.map(|line| line.trim().to_owned()))
}
