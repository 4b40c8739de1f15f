//! The agent as a static binary, the same bits wherever the checkout lies.

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
    let is_own = Platform::own() == Some(platform);
    let built =
        if is_own { native(workspace, programs) } else { foreign(workspace, platform, programs) };
    let built = built.with_context(|| format!("cannot build for {}", platform.name()))?;
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

fn native(workspace: &Workspace, programs: &Programs) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--package", "podrole", "--bin", "podrole"]);
    cargo.env(programs::OBJECT_VARIABLE, &programs.object);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", workspace.root().join("xtask/rustc-static.sh"));
    cargo.env("PODROLE_CHECKOUT", workspace.root());
    process::run(&mut cargo)?;
    Ok(workspace.target().join("release/podrole"))
}

fn foreign(workspace: &Workspace, platform: Platform, programs: &Programs) -> Result<PathBuf> {
    if platform != Platform::Arm64 {
        bail!("no cross compiler is known");
    }
    let toolchain = Arm64::find_or_install(workspace)?;
    let mut flags = reproducible::rust_flags(workspace)?;
    flags.push("-Ctarget-feature=+crt-static".to_owned());
    flags.extend(toolchain.flags());
    let mut cargo = toolchain.cargo(workspace);
    cargo.args(["build", "--release", "--locked", "--package", "podrole", "--bin", "podrole"]);
    cargo.args(["--target", TRIPLE]);
    cargo.env(programs::OBJECT_VARIABLE, &programs.object);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.env("CFLAGS_aarch64_unknown_linux_gnu", reproducible::c_flags(workspace)?);
    process::run(&mut cargo)?;
    Ok(workspace.target().join(TRIPLE).join("release/podrole"))
}

/// The first line, for people who meet it in the image's index.
pub(super) fn why_missing(error: &Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

/// The loader that a program asks for, by readelf(1).
fn interpreter(binary: &Path) -> Result<Option<String>> {
    let said = process::output(Command::new("readelf").arg("--program-headers").arg(binary))?;
    let line = said.lines().find(|line| line.contains("Requesting program interpreter"));
    Ok(line.map(|line| line.trim().to_owned()))
}
