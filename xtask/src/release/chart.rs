//! The Helm chart as a package: a tar of its files below its name, as `helm package` makes it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::image::{File, Files, Layer};
use crate::workspace::Workspace;

const CHART: &str = "deploy/helm/podrole";

/// The package, if there is a chart, whose versions must be those of the agent.
pub(super) fn package(workspace: &Workspace, version: &str) -> Result<Option<Vec<u8>>> {
    let about = workspace.root().join(CHART).join("Chart.yaml");
    if !about.is_file() {
        return Ok(None);
    }
    ensure!(is_of(&fs::read_to_string(about)?, version), "{CHART}/Chart.yaml: not of {version}");
    let mut files = Files::new();
    for path in workspace.files()? {
        let Ok(inside) = path.strip_prefix(CHART) else { continue };
        let content = fs::read(workspace.root().join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        let name: PathBuf = Path::new("/podrole").join(inside);
        files.insert(name, File { content, mode: 0o644 });
    }
    Ok(Some(Layer::of(&files, 0)?.compressed))
}

/// Whether chart and application are of this version.
fn is_of(about: &str, version: &str) -> bool {
    ["version", "appVersion"].iter().all(|field| {
        let value = about.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.is_some_and(|value| value.trim().trim_matches(['"', '\'']) == version)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_of_another_version_is_refused() {
        assert!(is_of("name: podrole\nversion: 1.2.3\nappVersion: \"1.2.3\"\n", "1.2.3"));
        assert!(!is_of("version: 1.2.3\nappVersion: 1.2.2\n", "1.2.3"));
        assert!(!is_of("version: 1.2.3\n", "1.2.3"));
    }
}
