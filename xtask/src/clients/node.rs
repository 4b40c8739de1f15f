//! The clients in JavaScript.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Part, Setup};
use crate::process;

const PACKAGE: &str = include_str!("../../clients/package.json");
const PACKAGE_LOCK: &str = include_str!("../../clients/package-lock.json");

pub(super) fn part() -> Part {
    Part { name: "node", list: [PACKAGE, PACKAGE_LOCK].concat(), install }
}

fn install(_setup: &Setup<'_>, node: &Path) -> Result<()> {
    fs::write(node.join("package.json"), PACKAGE).context("cannot write the list for npm")?;
    fs::write(node.join("package-lock.json"), PACKAGE_LOCK).context("cannot write npm's lock")?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(node);
    process::output(&mut npm).context("npm cannot install the AWS clients")?;
    Ok(())
}
