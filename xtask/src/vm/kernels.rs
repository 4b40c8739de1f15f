//! The kernels that Debian has: their images and modules, unpacked from its packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::debian::archive::{Archive, Package, Suite};
use crate::workspace::Workspace;

/// Releases that carry a kernel that nodes run, and the newest.
const SUITES: [Suite; 9] = [
    Suite::Main("bullseye"),
    Suite::Security("bullseye-security"),
    Suite::Main("bookworm"),
    Suite::Security("bookworm-security"),
    Suite::Main("bookworm-backports"),
    Suite::Main("trixie"),
    Suite::Security("trixie-security"),
    Suite::Main("trixie-backports"),
    Suite::Main("sid"),
];
/// Depends on the kernel of each of them: built for clouds, EC2 among them.
const KERNEL: &str = "linux-image-cloud-amd64";
/// What holds a kernel's image and its modules; which of them there are differs by release.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// Which kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The newest of a series: "6.1".
    Series(String),
    Newest,
}

impl Which {
    /// Those of the nodes of Amazon Linux 2 and 2023, the long-term one after them, and the newest.
    pub(super) fn all() -> Vec<Self> {
        let series = ["5.10", "6.1", "6.12"].map(|series| Self::Series(series.to_owned()));
        series.into_iter().chain([Self::Newest]).collect()
    }

    pub(super) fn parse(name: &str) -> Self {
        if name == "newest" { Self::Newest } else { Self::Series(name.to_owned()) }
    }

    fn is(&self, version: &str) -> bool {
        match self {
            Self::Series(series) => {
                version.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
            }
            Self::Newest => true,
        }
    }
}

/// A kernel, unpacked.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Of Debian's package: "5.10.262-1".
    pub(super) package: String,
    /// As the kernel says it: "5.10.0-46-cloud-amd64".
    pub(super) release: String,
    pub(super) image: PathBuf,
    /// Where its `kernel` directory and its indexes are; more than one package may have a part.
    pub(super) modules: PathBuf,
}

/// Downloads those kernels.
pub(super) fn get(workspace: &Workspace, which: &[Which]) -> Result<Vec<Kernel>> {
    let archive = Archive::open(workspace, "kernels", "amd64", &SUITES)?;
    let versions = archive.versions(KERNEL)?;
    let mut kernels = Vec::new();
    for which in which {
        let found = versions.iter().find(|package| which.is(&package.version));
        let package = found.with_context(|| format!("Debian's mirror has no kernel {which:?}"))?;
        kernels.push(unpacked(&archive, package)?);
    }
    kernels.dedup_by(|one, other| one.package == other.package);
    Ok(kernels)
}

fn unpacked(archive: &Archive, package: &Package) -> Result<Kernel> {
    let mut places = Vec::new();
    let mut waiting = vec![package.clone()];
    while let Some(package) = waiting.pop() {
        let needs = archive.needs(&package)?;
        waiting.extend(needs.into_iter().filter(|need| is_part(&need.name)));
        if is_part(&package.name) && package.name != KERNEL {
            places.push(archive.unpack(&package)?);
        }
    }
    let roots = ["lib/modules", "usr/lib/modules"];
    let modules = places.iter().flat_map(|place| roots.map(|root| place.join(root)));
    let modules =
        modules.filter_map(|root| only_entry(&root)).find(|path| path.join("kernel").is_dir());
    let modules = modules.with_context(|| format!("no modules in {package:?}"))?;
    let release = modules.file_name().context("modules without a release")?;
    let release = release.to_string_lossy().into_owned();
    let names = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
    let images = places.iter().flat_map(|place| names.iter().map(|name| place.join(name)));
    let image = images.into_iter().find(|path| path.is_file());
    let image = image.with_context(|| format!("no image in {package:?}"))?;
    Ok(Kernel { package: package.version.clone(), release, image, modules })
}

/// A kernel's own packages carry its version; the names without are of packages that only need others.
fn is_part(name: &str) -> bool {
    let rest = PARTS.iter().find_map(|part| name.strip_prefix(part));
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn only_entry(directory: &Path) -> Option<PathBuf> {
    Some(fs::read_dir(directory).ok()?.next()?.ok()?.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_not_one_that_begins_alike() {
        let series = Which::parse("6.1");
        assert!(series.is("6.1.176-1"));
        assert!(!series.is("6.12.95-1~bpo12+1"));
        assert!(Which::parse("newest").is("7.3.4-1"));
    }

    #[test]
    fn only_packages_with_a_version_in_their_name_are_parts() {
        assert!(is_part("linux-image-5.10.0-46-cloud-amd64") && is_part("linux-binary-7.3.4"));
        assert!(!is_part("linux-image-cloud-amd64") && !is_part("linux-base-7.3.4"));
    }
}
