//! Tools that cargo builds, kept in the user's cache: all clones share them, and the user's own are
//! left alone.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::process;
use crate::workspace::Workspace;

/// A program from the crate registry, in one exact version.
pub(crate) struct CargoTool {
    /// The crate's name, and its program's.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Tells apart builds of the same version, as in `-llvm22`; may be empty.
    pub(crate) variant: String,
    pub(crate) features: Vec<String>,
    /// For its build.
    pub(crate) variables: Vec<(&'static str, PathBuf)>,
}

impl CargoTool {
    /// Its program, if it was built before.
    pub(crate) fn installed(&self) -> Option<PathBuf> {
        let program = self.root().ok()?.join("bin").join(self.name);
        program.is_file().then_some(program)
    }

    /// Its program, built now if need be.
    pub(crate) fn install(&self, workspace: &Workspace) -> Result<PathBuf> {
        if let Some(program) = self.installed() {
            return Ok(program);
        }
        let root = self.root()?;
        println!("building {} {} (minutes, once) into {}", self.name, self.version, root.display());
        let mut cargo = workspace.cargo();
        // What runs for seconds is not worth minutes of optimising.
        cargo.args(["install", "--debug"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.args(["--quiet", "--locked", "--no-default-features", "--root"]).arg(&root);
        cargo.args(["--version", self.version, "--features", &self.features.join(",")]);
        cargo.arg(self.name).envs(self.variables.iter().cloned());
        process::run(&mut cargo).with_context(|| format!("cannot build {}", self.name))?;
        self.installed().with_context(|| format!("cargo left no {} behind", self.name))
    }

    fn root(&self) -> Result<PathBuf> {
        let Self { name, version, variant, .. } = self;
        Ok(cache()?.join(format!("{name}-{version}{variant}")))
    }
}

/// Our place in the user's cache (XDG Base Directory Specification).
fn cache() -> Result<PathBuf> {
    let given = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let cache = given.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("podrole"))
}
