//! The software bill of materials in `CycloneDX`, by the tool of its makers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::layout::About;
use crate::cargo_tool::CargoTool;
use crate::process;
use crate::workspace::Workspace;

/// Writes what the agent is made of, for all platforms.
pub(super) fn write(workspace: &Workspace, place: &Path, about: &About) -> Result<PathBuf> {
    let tool = CargoTool {
        name: "cargo-cyclonedx",
        version: "0.5.9",
        variant: String::new(),
        features: Vec::new(),
        variables: Vec::new(),
    };
    let program = tool.install(workspace)?;
    // It writes beside the manifest of each package: that is not to be in the checkout.
    let copy = place.join("sbom");
    copied(workspace, &copy)?;
    let mut cyclonedx = workspace.command(&program);
    cyclonedx.current_dir(&copy).args(["cyclonedx", "--quiet", "--format", "json"]);
    cyclonedx.args(["--spec-version", "1.5", "--target", "all"]);
    cyclonedx.args(["--manifest-path", "agent/Cargo.toml"]);
    // With it there is no serial number by chance, and the time is that of the commit.
    cyclonedx.env("SOURCE_DATE_EPOCH", about.at.to_string());
    process::output(&mut cyclonedx).context("cannot make the SBOM")?;
    let text = fs::read_to_string(copy.join("agent/podrole.cdx.json"))
        .context("cargo-cyclonedx left no SBOM")?;
    let text = text.replace(&copy.display().to_string(), "/podrole");
    let sbom = place.join(format!("podrole-{}.cdx.json", about.version));
    fs::write(&sbom, text).context("cannot write the SBOM")?;
    fs::remove_dir_all(&copy).context("cannot remove a copy of the checkout")?;
    Ok(sbom)
}

fn copied(workspace: &Workspace, copy: &Path) -> Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy).context("cannot remove an old copy of the checkout")?;
    }
    for file in workspace.files()? {
        let to = copy.join(&file);
        fs::create_dir_all(to.parent().context("a file lies in a directory")?)?;
        fs::copy(workspace.root().join(&file), &to)
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}
