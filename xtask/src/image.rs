//! `image`: an OCI image from scratch, with no daemon and no registry: the agent as a static binary, the
//! certificate authorities, nothing else.

mod binary;
mod check;
mod containerd;
mod layer;
mod layout;
pub(crate) mod roots;
mod sbom;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::binary::{Platform, build as static_binary};
pub(crate) use self::layer::{File, Files, Layer};
use self::layout::About;
pub(crate) use self::layout::hex;
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{process, programs};

/// Where the binary is in the image.
const BINARY: &str = "/usr/bin/podrole";
/// What an image may weigh for one platform, in bytes.
const LIMIT: usize = 20 * 1000 * 1000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run what was made, from its unpacked layers; load it with skopeo, build it again with Buildah
    #[arg(long)]
    check: bool,
    /// For this processor alone
    #[arg(long, value_enum)]
    platform: Option<Platform>,
}

/// What was made.
pub(crate) struct Image {
    pub(crate) version: String,
    /// The layout as one file.
    pub(crate) archive: PathBuf,
    pub(crate) sbom: PathBuf,
    /// By platform.
    pub(crate) binaries: BTreeMap<Platform, PathBuf>,
    /// Why other platforms are not in it.
    pub(crate) missing: BTreeMap<String, String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::begin();
    let wanted = arguments.platform.map_or_else(|| Platform::ALL.to_vec(), |one| vec![one]);
    let image = make(workspace, &mut steps, &wanted)?;
    if arguments.check {
        check::run(workspace, &mut steps, &image)?;
    }
    println!("image: {}", steps.summary());
    Ok(())
}

/// Makes it, and says what was made.
pub(crate) fn make(workspace: &Workspace, steps: &mut Steps, wanted: &[Platform]) -> Result<Image> {
    let place = workspace.target().join("image");
    fs::create_dir_all(&place).context("cannot make a directory for the image")?;
    let about = about(workspace)?;
    let programs = steps.step("eBPF programs", || programs::build(workspace))?;
    let unwanted = Platform::ALL.into_iter().filter(|platform| !wanted.contains(platform));
    let mut missing: BTreeMap<_, _> =
        unwanted.map(|one| (one.name().to_owned(), "not asked for".to_owned())).collect();
    let mut binaries = BTreeMap::new();
    for platform in wanted {
        let name = format!("static binary for {}", platform.name());
        match steps.step(&name, || binary::build(workspace, *platform, &programs)) {
            Ok(binary) => drop(binaries.insert(*platform, binary)),
            // An image without this machine's own platform is none.
            Err(error) if Some(*platform) == Platform::own() => return Err(error),
            Err(error) => {
                println!("    {} is left out: {error:#}", platform.name());
                missing.insert(platform.name().to_owned(), binary::why_missing(&error));
            }
        }
    }
    let archive = place.join(format!("podrole-{}.oci.tar", about.version));
    let directory = place.join("layout");
    steps.step("OCI layout", || {
        let files: BTreeMap<_, _> = binaries
            .iter()
            .map(|(platform, binary)| Ok((*platform, files(binary)?)))
            .collect::<Result<_>>()?;
        for (platform, files) in &files {
            write_root(&place.join("rootfs").join(platform.arch().to_string()), files)?;
        }
        let platforms: Vec<_> =
            files.iter().map(|(platform, files)| (platform.arch(), files)).collect();
        let layout = layout::Layout::of(&about, &platforms, &missing)?;
        layout.write_directory(&directory)?;
        let tar = layout.tar(about.at)?;
        if tar.len() > LIMIT * platforms.len() {
            bail!("{} bytes for {} platforms are too many", tar.len(), platforms.len());
        }
        println!("    {} bytes, sha256 {}", tar.len(), hex(&tar));
        fs::write(&archive, tar).context("cannot write the image")
    })?;
    let sbom = steps.step("SBOM", || sbom::write(workspace, &place, &about))?;
    println!("    {}\n    {}", archive.display(), sbom.display());
    Ok(Image { version: about.version, archive, sbom, binaries, missing })
}

fn files(binary: &Path) -> Result<Files> {
    let content = fs::read(binary).with_context(|| binary.display().to_string())?;
    let roots = File { content: roots::pem().into_bytes(), mode: 0o644 };
    Ok(Files::from([(BINARY.into(), File { content, mode: 0o755 }), (roots::PATH.into(), roots)]))
}

/// What `deploy/image/Dockerfile` copies.
fn write_root(root: &Path, files: &Files) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).context("cannot remove the old files of the image")?;
    }
    for (path, file) in files {
        let path = root.join(path.strip_prefix("/").unwrap_or(path));
        fs::create_dir_all(path.parent().context("a file of the image lies in a directory")?)?;
        fs::write(&path, &file.content).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

fn about(workspace: &Workspace) -> Result<About> {
    let git = |arguments: &[&str]| {
        let said = process::output(workspace.command("git").args(arguments))?;
        Ok::<_, anyhow::Error>(said.trim().to_owned())
    };
    let at = match env::var("SOURCE_DATE_EPOCH") {
        Ok(at) => at,
        Err(_) => git(&["log", "-1", "--format=%ct"])?,
    };
    let at: u64 = at.parse().with_context(|| format!("SOURCE_DATE_EPOCH: {at:?}"))?;
    let stamp = jiff::Timestamp::from_second(i64::try_from(at)?)?;
    let dirty = if git(&["status", "--porcelain"])?.is_empty() { "" } else { "-dirty" };
    Ok(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: format!("{}{dirty}", git(&["rev-parse", "HEAD"])?),
        source: env!("CARGO_PKG_REPOSITORY").to_owned(),
        licenses: env!("CARGO_PKG_LICENSE").to_owned(),
        description: "Every pod its own IAM role, with no change to the pod: the node agent"
            .to_owned(),
        at,
        created: stamp.to_string(),
    })
}
