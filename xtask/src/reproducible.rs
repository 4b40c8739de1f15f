//! What keeps the places of one machine out of what is built.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::process;
use crate::workspace::Workspace;

/// For the Rust compiler.
pub(crate) fn rust_flags(workspace: &Workspace) -> Result<Vec<String>> {
    let places = places(workspace)?.into_iter();
    Ok(places.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect())
}

/// For C compilers, gcc and clang alike.
pub(crate) fn c_flags(workspace: &Workspace) -> Result<String> {
    let places = places(workspace)?.into_iter();
    let flags = places.map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()));
    Ok(flags.collect::<Vec<_>>().join(" "))
}

/// Where things are here, and what is written in their place.
fn places(workspace: &Workspace) -> Result<[(PathBuf, &'static str); 3]> {
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    let cargo = cargo.or_else(home).context("neither CARGO_HOME nor HOME is set")?;
    let sysroot = process::output(workspace.command("rustc").args(["--print", "sysroot"]))?;
    Ok([
        (workspace.root().to_owned(), "/podrole"),
        (cargo, "/cargo"),
        (PathBuf::from(sysroot.trim()), "/rust"),
    ])
}
