//! `release`: everything that is published, in `dist`, with checksums.

mod changelog;
mod chart;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::image::{self, Platform, hex};
use crate::process;
use crate::steps::Steps;
use crate::workspace::Workspace;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// As sha256sum(1) reads it with `--check`.
const CHECKSUMS: &str = "SHA256SUMS";
/// Of the checkout, published as they are.
const FILES: [&str; 4] = [
    "deploy/crds/roleassociations.yaml",
    "deploy/podrole-attach.service",
    "deploy/rbac.yaml",
    "CHANGELOG.md",
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Though the changelog has no section of this version, or files are not committed: to try it
    #[arg(long)]
    snapshot: bool,
    /// Only check that this version may be released
    #[arg(long, conflicts_with = "snapshot")]
    check: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::begin();
    let changelog = fs::read_to_string(workspace.root().join("CHANGELOG.md"))?;
    let notes = if arguments.snapshot {
        changelog::section(&changelog, "Unreleased").unwrap_or_default()
    } else {
        steps.step("version and changelog", || may_be_released(workspace, &changelog))?
    };
    if arguments.check {
        return Ok(());
    }
    let dist = Dist::empty(workspace)?;
    let image = image::make(workspace, &mut steps, &Platform::ALL)?;
    if !arguments.snapshot && !image.missing.is_empty() {
        bail!("a release is for all platforms; missing: {:?}", image.missing);
    }
    steps.step("dist", || {
        for (platform, binary) in &image.binaries {
            dist.copy(binary, &format!("podrole-{}", platform.name().replace('/', "-")))?;
        }
        dist.copy(&image.archive, &format!("podrole-{VERSION}.oci.tar"))?;
        dist.copy(&image.sbom, &format!("podrole-{VERSION}.cdx.json"))?;
        for file in FILES {
            let path = workspace.root().join(file);
            let name = path.file_name().context("a file has a name")?.to_string_lossy();
            dist.copy(&path, &name)?;
        }
        match chart::package(workspace, VERSION)? {
            Some(package) => dist.write(&format!("podrole-{VERSION}.tgz"), &package)?,
            None => println!("    no chart: deploy/helm/podrole is not there"),
        }
        dist.write("NOTES.md", notes.as_bytes())?;
        dist.checksums()
    })?;
    println!("release: {} is in {}, {}", VERSION, dist.place.display(), steps.summary());
    Ok(())
}

/// The changelog's section of this version.
fn may_be_released(workspace: &Workspace, changelog: &str) -> Result<String> {
    let changed = process::output(workspace.command("git").args(["status", "--porcelain"]))?;
    ensure!(changed.is_empty(), "there are changes that are not committed:\n{changed}");
    changelog::checked_section(changelog, VERSION)
}

/// The directory of what is published.
struct Dist {
    place: PathBuf,
}

impl Dist {
    fn empty(workspace: &Workspace) -> Result<Self> {
        let place = workspace.root().join("dist");
        if place.exists() {
            fs::remove_dir_all(&place).context("cannot empty dist")?;
        }
        fs::create_dir(&place).context("cannot make dist")?;
        Ok(Self { place })
    }

    fn copy(&self, from: &Path, name: &str) -> Result<()> {
        fs::copy(from, self.place.join(name))
            .with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        fs::write(self.place.join(name), content).with_context(|| format!("cannot write {name}"))
    }

    fn checksums(&self) -> Result<()> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(&self.place)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            lines.push((name, hex(&fs::read(entry.path())?)));
        }
        lines.sort();
        let mut text = Vec::new();
        for (name, digest) in lines {
            println!("    {digest}  {name}");
            writeln!(text, "{digest}  {name}")?;
        }
        self.write(CHECKSUMS, &text)
    }
}
