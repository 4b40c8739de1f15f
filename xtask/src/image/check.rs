//! `image --check`: other tools read the image, make the same one, and run what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::{BINARY, Image, Platform, containerd, hex};
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{arm64, build, debian, process, programs};

const PACKAGES: [&str; 3] = ["buildah", "runc", "skopeo"];
/// What tells the tests where the image is unpacked.
const ROOT_VARIABLE: &str = "PODROLE_IMAGE_ROOT";

pub(super) fn run(workspace: &Workspace, steps: &mut Steps, image: &Image) -> Result<()> {
    ensure!(debian::is_root(), "what is in the image is run in namespaces: run this as root");
    let platform = Platform::own().context("no platform of this machine")?;
    let binary = image.binaries.get(&platform).context("this machine's platform is not in it")?;
    debian::install(&PACKAGES)?;
    let place = workspace.target().join("image/check");
    if place.exists() {
        fs::remove_dir_all(&place).context("cannot remove an old check")?;
    }
    fs::create_dir_all(&place)?;
    let root = place.join("root");
    let loaded = steps.step("skopeo loads and copies it", || {
        let from = format!("oci-archive:{}", image.archive.display());
        let directory = place.join("loaded");
        process::output(Command::new("skopeo").args(["inspect", &from]))?;
        copy(&from, &directory)?;
        unpack(&directory, &root)?;
        tree(&root)
    })?;
    steps.step("Buildah makes the same", || {
        let built = buildah(workspace, &place)?;
        ensure!(built == loaded, "Buildah's image has other files: {built:#?}, not {loaded:#?}");
        ensure!(loaded.len() == 2, "more than two files: {loaded:#?}");
        let binary = hex(&fs::read(binary)?);
        ensure!(loaded.get(BINARY) == Some(&binary), "not the binary that was built");
        Ok(())
    })?;
    steps.step("nothing but the binary is needed", || {
        let said = process::output(Command::new("chroot").arg(&root).args([BINARY, "--version"]))?;
        println!("    {}", said.trim());
        Ok(())
    })?;
    if platform == Platform::Amd64 {
        steps.step("containerd imports it and runs it", || {
            let Image { archive, version, .. } = image;
            let said = containerd::run(workspace, &place, archive, version, "--version")?;
            println!("    {}", said.trim());
            Ok(())
        })?;
    }
    if let Some(other) = image.binaries.get(&Platform::Arm64).filter(|other| *other != binary) {
        steps.step("the one for arm64 starts, emulated", || {
            println!("    {}", arm64::run_static(other, &["--version"])?.trim());
            Ok(())
        })?;
    }
    steps.step("the agent of the image, in a chroot and by runc", || {
        let programs = programs::build(workspace)?;
        let mut cargo = build::cargo(workspace, &programs);
        cargo.arg("test").args(build::USERSPACE).args(["--test", "image", "--", "--ignored"]);
        cargo.env("PODROLE_AGENT", binary).env(ROOT_VARIABLE, &root);
        process::run(&mut cargo)
    })
}

fn copy(from: &str, directory: &Path) -> Result<()> {
    let to = format!("dir:{}", directory.display());
    process::output(Command::new("skopeo").args(["copy", "--quiet", from, &to]))?;
    Ok(())
}

/// Unpacks the layers of an image that skopeo wrote: its manifest, and blobs by their digests.
fn unpack(directory: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    let manifest = fs::read_to_string(directory.join("manifest.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let layers = manifest.get("layers").and_then(|layers| layers.as_array());
    for layer in layers.context("a manifest without layers")? {
        let digest = layer.get("digest").and_then(|digest| digest.as_str());
        let digest = digest.and_then(|digest| digest.strip_prefix("sha256:"));
        let blob = directory.join(digest.context("a layer without a digest")?);
        let mut tar = Command::new("tar");
        process::output(tar.arg("-xf").arg(blob).arg("-C").arg(root))?;
    }
    Ok(())
}

/// Rootful, with plain directories for storage and no container around it: there is nothing to run.
fn buildah(workspace: &Workspace, place: &Path) -> Result<BTreeMap<String, String>> {
    let storage = place.join("buildah");
    let buildah = || {
        let mut command = workspace.command("buildah");
        command.env("STORAGE_DRIVER", "vfs").env("BUILDAH_ISOLATION", "chroot");
        command.arg("--root").arg(storage.join("root"));
        command.arg("--runroot").arg(storage.join("run"));
        command
    };
    let name = "podrole-check";
    let mut build = buildah();
    build.args(["build", "--quiet", "--tag", name, "--file", "deploy/image/Dockerfile"]);
    process::output(build.arg(workspace.target().join("image/rootfs")))?;
    let (copied, root) = (place.join("built"), place.join("built-root"));
    let to = format!("dir:{}", copied.display());
    process::output(buildah().args(["push", "--quiet", name, &to]))?;
    unpack(&copied, &root)?;
    tree(&root)
}

/// Each file by its path in the image, with the digest of its content.
fn tree(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut waiting: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                waiting.push(path);
            } else if entry.file_type()?.is_file() {
                let name = format!("/{}", path.strip_prefix(root)?.display());
                files.insert(name, hex(&fs::read(&path)?));
            } else {
                bail!("{} is no plain file", path.display());
            }
        }
    }
    Ok(files)
}
