//! What keeps the places of one machine out of what is built.

use std::env;
use std::fs;
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

/// Where things are here, and what is written in their place; of those that fit, the last one counts.
fn places(workspace: &Workspace) -> Result<Vec<(PathBuf, &'static str)>> {
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    let cargo = cargo.or_else(home).context("neither CARGO_HOME nor HOME is set")?;
    let sysroot = process::output(workspace.command("rustc").args(["--print", "sysroot"]))?;
    // Dependencies lie in a directory that is named by the mirror that they came from.
    let registries = fs::read_dir(cargo.join("registry/src")).into_iter().flatten().flatten();
    let mut registries: Vec<_> = registries.map(|registry| registry.path()).collect();
    registries.sort();
    let mut places = vec![
        (workspace.root().to_owned(), "/podrole"),
        (PathBuf::from(sysroot.trim()), "/rust"),
        (cargo, "/cargo"),
    ];
    places.extend(registries.into_iter().map(|registry| (registry, "/cargo/registry")));
    Ok(places)
}
