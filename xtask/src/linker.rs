//! bpf-linker, which links the eBPF programs and makes their BTF.
//!
//! It reads the compiler's bitcode, so its LLVM must be at least as new as the compiler's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo_tool::CargoTool;
use crate::workspace::Workspace;
use crate::{debian, process};

const VERSION: &str = "0.13.0";

/// The newest LLVM that this version can be built with (its features `llvm-21` to `llvm-23`).
const NEWEST_LLVM: u32 = 23;

/// A bpf-linker that is there and runs.
#[derive(Debug)]
pub(crate) struct Linker {
    pub(crate) program: PathBuf,
    /// "bpf-linker 0.13.0 (LLVM 22)".
    pub(crate) version: String,
}

/// One built before.
fn installed(llvm: u32) -> Option<Linker> {
    (llvm..=NEWEST_LLVM).find_map(|llvm| {
        let program = tool(llvm, Path::new("")).installed()?;
        runs(&program).then(|| linker(program, llvm))
    })
}

/// A linker for a compiler of that LLVM: one built before, else built now with the LLVM that is on
/// this machine or that Debian has, else the one on `PATH`.
pub(crate) fn install(workspace: &Workspace, llvm: u32) -> Result<Linker> {
    if let Some(linker) = installed(llvm) {
        return Ok(linker);
    }
    if let Some((llvm, prefix)) = (llvm..=NEWEST_LLVM).find_map(|v| Some((v, prefix(v)?))) {
        return build(workspace, llvm, &prefix);
    }
    match debian::install(&packages(llvm)).map(|()| prefix(llvm)) {
        Ok(Some(prefix)) => build(workspace, llvm, &prefix),
        Ok(None) => on_path().with_context(|| format!("no LLVM {llvm} after its installation")),
        Err(error) => on_path().ok_or(error).context("bpf-linker cannot be built"),
    }
}

/// Debian's packages that its build needs.
pub(crate) fn packages(llvm: u32) -> [&'static str; 1] {
    match llvm {
        ..=21 => ["llvm-21-dev"],
        22 => ["llvm-22-dev"],
        23.. => ["llvm-23-dev"],
    }
}

/// What a person would type where we cannot install it.
pub(crate) fn command_line(llvm: u32) -> String {
    format!(
        "LLVM_PREFIX=$(llvm-config-{llvm} --prefix) cargo install bpf-linker --version {VERSION} \
         --locked --no-default-features --features llvm-{llvm}"
    )
}

fn build(workspace: &Workspace, llvm: u32, prefix: &Path) -> Result<Linker> {
    let program = tool(llvm, prefix).install(workspace)?;
    Ok(linker(program, llvm))
}

fn tool(llvm: u32, prefix: &Path) -> CargoTool {
    CargoTool {
        name: "bpf-linker",
        version: VERSION,
        variant: format!("-llvm{llvm}"),
        features: vec![format!("llvm-{llvm}")],
        variables: vec![("LLVM_PREFIX", prefix.to_owned())],
    }
}

fn linker(program: PathBuf, llvm: u32) -> Linker {
    Linker { program, version: format!("bpf-linker {VERSION} (LLVM {llvm})") }
}

/// The user's own, which may have been linked with any LLVM: the last resort.
fn on_path() -> Option<Linker> {
    let program = process::on_path("bpf-linker")?;
    let said = process::output(Command::new(&program).arg("--version")).ok()?;
    let version = format!("{} (on PATH)", said.trim());
    said.contains(VERSION).then_some(Linker { program, version })
}

/// False too where the LLVM that it was linked with is gone.
fn runs(program: &Path) -> bool {
    process::succeeds(Command::new(program).arg("--version"))
}

/// Where that LLVM is installed with its development files.
fn prefix(llvm: u32) -> Option<PathBuf> {
    let asked = process::output(Command::new(format!("llvm-config-{llvm}")).arg("--prefix"));
    let usual = [format!("/usr/lib/llvm-{llvm}"), format!("/usr/lib64/llvm{llvm}")];
    let places = asked.ok().map(|prefix| prefix.trim().to_owned()).into_iter().chain(usual);
    places.map(PathBuf::from).find(|prefix| prefix.join("include/llvm-c/Core.h").is_file())
}
