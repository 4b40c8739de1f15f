//! Where things are: the checkout, its target directory, the files that git knows of.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// The checkout that this program was built from.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The checkout, by the place of this package in it.
    pub(crate) fn find() -> Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("the package xtask lies in no workspace")?;
        let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
        Ok(Self { root: root.to_owned(), target: root.join(target) })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's output directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The cargo that runs us, in the root of the checkout.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        self.command(cargo)
    }

    /// A command in the root of the checkout, without what `cargo run` told us about ourselves:
    /// build scripts that read such variables would be run again for nothing.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(&self.root);
        for name in env::vars_os().map(|(name, _)| name).filter(is_ours) {
            command.env_remove(name);
        }
        command
    }

    /// Every file that is in git or could be: tracked, or new and not ignored. Relative to the root.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut git = self.command("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = process::output(&mut git)?;
        let mut files: Vec<_> = listed.split_terminator('\0').map(PathBuf::from).collect();
        files.retain(|file| self.root.join(file).is_file());
        files.sort();
        files.dedup();
        Ok(files)
    }
}

fn is_ours(name: &OsString) -> bool {
    const PREFIXES: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];
    let Some(name) = name.to_str() else { return false };
    name == "CARGO" || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
