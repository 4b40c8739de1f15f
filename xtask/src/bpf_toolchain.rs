//! Finds a compiler for `bpfel-unknown-none`, for which rustup ships no `core`.
//!
//! Two ways: a nightly with the sources of `core`, built along (`-Z build-std`), or Debian's own
//! compiler with its prebuilt `core`. What is there is taken before anything is installed.

mod debian_web;
mod nightly;

use std::process::Command;

use anyhow::{Context as _, Result, anyhow};

use crate::linker::{self, Linker};
use crate::workspace::Workspace;
use crate::{debian, process, reproducible};

/// A compiler for the BPF target, with its linker.
#[derive(Debug)]
pub(crate) struct BpfToolchain {
    way: Way,
    /// "rustc 1.96.0 (Debian)".
    pub(crate) compiler: String,
    pub(crate) linker: Linker,
}

#[derive(Debug)]
enum Way {
    /// rustup's toolchain of that name.
    Nightly(String),
    Debian,
}

impl BpfToolchain {
    /// The first way that is open; installs what is missing.
    pub(crate) fn find_or_install(workspace: &Workspace) -> Result<Self> {
        let ways =
            [nightly::installed, debian_web::installed, debian_web::install, nightly::install];
        let mut refusals = Vec::new();
        for way in ways {
            match way().and_then(|compiler| Self::with_linker(workspace, compiler)) {
                Ok(toolchain) => return Ok(toolchain),
                Err(error) => refusals.push(error),
            }
        }
        Err(nowhere(&refusals))
    }

    fn with_linker(workspace: &Workspace, compiler: Compiler) -> Result<Self> {
        let Compiler { way, name, llvm } = compiler;
        let linker = linker::install(workspace, llvm)
            .with_context(|| format!("{name} is there, but no linker for it"))?;
        Ok(Self { way, compiler: name, linker })
    }

    /// Its cargo, with what the target needs.
    pub(crate) fn cargo_build(&self, workspace: &Workspace) -> Result<Command> {
        let mut cargo = match &self.way {
            Way::Nightly(name) => nightly::cargo_build(workspace, name),
            Way::Debian => debian_web::cargo_build(workspace),
        };
        cargo.args(["--target", "bpfel-unknown-none"]);
        // The agent carries the programs, so what is in them is in the image.
        let flags = [self.rustflags(), reproducible::rust_flags(workspace)?.join("\u{1f}")];
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker.program);
        Ok(cargo)
    }

    fn rustflags(&self) -> String {
        let arch = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
        // Cargo does not see the linker change: its version among the flags makes it build anew.
        let linker = format!("-Cmetadata={}", self.linker.version.replace([' ', '(', ')'], ""));
        [arch.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf", &linker].join("\u{1f}")
    }
}

/// A compiler that can build for the BPF target.
struct Compiler {
    way: Way,
    /// What it says of itself: "rustc 1.96.0 (ac68faa20 2026-05-25)".
    name: String,
    /// The major version of its LLVM.
    llvm: u32,
}

impl Compiler {
    fn ask(way: Way, rustc: &mut Command) -> Result<Self> {
        let said = process::output(rustc.arg("-vV"))?;
        let (name, llvm) =
            version(&said).with_context(|| format!("no version of LLVM in: {said}"))?;
        Ok(Self { way, name: name.to_owned(), llvm })
    }
}

/// The first line of `rustc -vV`, and the major version of its LLVM.
fn version(said: &str) -> Option<(&str, u32)> {
    let llvm = said.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    Some((said.lines().next()?, llvm.split('.').next()?.parse().ok()?))
}

fn nowhere(refusals: &[anyhow::Error]) -> anyhow::Error {
    let reasons: Vec<_> = refusals.iter().map(|error| format!("    - {error:#}")).collect();
    let debian_packages = debian_web::PACKAGES.into_iter().chain(linker::packages(nightly::LLVM));
    anyhow!(
        "no way to build for the BPF target:\n{}\n\n\
         On Debian 12 or later, run:\n    {}\n\
         Elsewhere, install LLVM {} with its development files and run:\n    {}\n    {}\n\
         Then run this again.",
        reasons.join("\n"),
        debian::command_line(&debian_packages.collect::<Vec<_>>()),
        nightly::LLVM,
        nightly::command_line(),
        linker::command_line(nightly::LLVM),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_llvm_is_read_from_what_rustc_says() {
        let said = "rustc 1.96.0 (ac68faa20 2026-05-25)\nhost: x86_64\nLLVM version: 22.1.8\n";
        assert_eq!(version(said), Some(("rustc 1.96.0 (ac68faa20 2026-05-25)", 22)));
    }

    #[test]
    fn a_compiler_without_llvm_is_refused() {
        assert_eq!(version("rustc 1.96.0\nhost: x86_64\n"), None);
    }

    #[test]
    fn a_new_linker_changes_the_flags() {
        let with = |version: &str| {
            let linker = Linker { program: "/linker".into(), version: version.to_owned() };
            BpfToolchain { way: Way::Debian, compiler: String::new(), linker }.rustflags()
        };
        assert_ne!(with("bpf-linker 0.13.0 (LLVM 22)"), with("bpf-linker 0.13.0 (LLVM 23)"));
        assert!(with("bpf-linker 0.13.0 (LLVM 22)").ends_with("-Cmetadata=bpf-linker0.13.0LLVM22"));
    }
}
