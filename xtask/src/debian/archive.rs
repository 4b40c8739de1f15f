//! Packages of other releases and architectures of Debian, unpacked into the target directory and never
//! installed: kernels to boot, libraries to link.
//!
//! They come by the ordinary apt, with lists of its own, from the mirrors that this machine's apt uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::workspace::Workspace;

/// What Debian signs its archive with.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A part of Debian's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// A release, its updates or its backports.
    Main(&'static str),
    /// The security updates of a release.
    Security(&'static str),
}

/// What apt can get for one architecture.
pub(crate) struct Archive {
    directory: PathBuf,
    architecture: &'static str,
}

/// One version of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Archive {
    /// Renews the lists of these suites. One that the mirror does not have is left out.
    ///
    /// # Errors
    /// Without any apt source of Debian's.
    pub(crate) fn open(
        workspace: &Workspace,
        name: &str,
        architecture: &'static str,
        suites: &[Suite],
    ) -> Result<Self> {
        let directory = workspace.target().join("debian").join(name);
        for below in ["lists/partial", "cache/archives/partial", "unpacked"] {
            fs::create_dir_all(directory.join(below)).context("cannot make a place for apt")?;
        }
        let mirrors = Mirrors::of_machine()?;
        let archive = Self { directory, architecture };
        let lines: String = suites.iter().filter_map(|suite| mirrors.line(*suite)).collect();
        fs::write(archive.sources(), lines).context("cannot write apt's sources")?;
        // A suite that is not there makes apt fail, and the others are renewed all the same.
        let _ = process::output(archive.apt("apt-get").arg("update"));
        Ok(archive)
    }

    /// The versions of a package, the newest first.
    pub(crate) fn versions(&self, name: &str) -> Result<Vec<Package>> {
        let listed = process::output(self.apt("apt-cache").args(["madison", name]))?;
        Ok(madison(&listed))
    }

    /// What a package needs, by name and where it says so by version.
    pub(crate) fn needs(&self, package: &Package) -> Result<Vec<Package>> {
        let said = process::output(self.apt("apt-cache").arg("show").arg(package.spelled()))?;
        Ok(exact_needs(&said))
    }

    /// Downloads a package and unpacks it, unless that was done before; returns where.
    pub(crate) fn unpack(&self, package: &Package) -> Result<PathBuf> {
        let Package { name, version } = package;
        let place = self.directory.join("unpacked").join(format!("{name}_{version}"));
        if place.is_dir() {
            return Ok(place);
        }
        println!("downloading {name} {version} ({})", self.architecture);
        let downloads = self.directory.join("cache");
        let before = debs(&downloads)?;
        let mut get = self.apt("apt-get");
        process::output(get.current_dir(&downloads).arg("download").arg(package.spelled()))
            .with_context(|| format!("cannot download {name}"))?;
        let new = debs(&downloads)?.into_iter().find(|file| !before.contains(file));
        let file = new.with_context(|| format!("apt left no file of {name}"))?;
        let half = place.with_extension("half");
        if half.exists() {
            fs::remove_dir_all(&half).context("cannot remove a package half unpacked")?;
        }
        process::output(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&half))?;
        fs::rename(&half, &place).context("cannot move an unpacked package")?;
        fs::remove_file(file).context("cannot remove a package")?;
        Ok(place)
    }

    fn sources(&self) -> PathBuf {
        self.directory.join("sources.list")
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        let path = |path: &Path| path.display().to_string();
        set("Dir::Etc::SourceList", &path(&self.sources()));
        set("Dir::Etc::SourceParts", "/dev/null");
        set("Dir::State::Lists", &path(&self.directory.join("lists")));
        set("Dir::Cache", &path(&self.directory.join("cache")));
        // Nothing is installed, so nothing is compared with what is.
        set("Dir::State::Status", "/dev/null");
        set("APT::Architecture", self.architecture);
        set("APT::Architectures", self.architecture);
        set("Acquire::Languages", "none");
        // As root, apt would else complain that its own user cannot write here.
        set("APT::Sandbox::User", "root");
        command
    }
}

impl Package {
    pub(crate) fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into() }
    }

    /// As apt takes it.
    fn spelled(&self) -> String {
        format!("{}={}", self.name, self.version)
    }
}

/// Where this machine's apt finds Debian.
struct Mirrors {
    main: String,
    security: Option<String>,
}

impl Mirrors {
    fn of_machine() -> Result<Self> {
        let mut targets = Command::new("apt-get");
        targets.args(["indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)"]);
        targets.arg("Created-By: Packages");
        if let Some(mirrors) = mirrors(&process::output(&mut targets)?) {
            return Ok(mirrors);
        }
        // Before the first update apt does not know whose they are.
        super::renew_lists()?;
        let listed = process::output(&mut targets)?;
        mirrors(&listed).context("this machine's apt has no sources of Debian")
    }

    fn line(&self, suite: Suite) -> Option<String> {
        let (mirror, suite) = match suite {
            Suite::Main(name) => (&self.main, name),
            Suite::Security(name) => (self.security.as_ref()?, name),
        };
        Some(format!("deb [signed-by={KEYS}] {mirror} {suite} main\n"))
    }
}

fn mirrors(listed: &str) -> Option<Mirrors> {
    let of = |label: &str| {
        let end = format!(" Debian {label}");
        let line = listed.lines().find(|line| line.ends_with(&end))?;
        Some(line.strip_suffix(&end)?.to_owned())
    };
    Some(Mirrors { main: of("Debian")?, security: of("Debian-Security") })
}

/// `name | version | where`, the newest first.
fn madison(listed: &str) -> Vec<Package> {
    let package = |line: &str| {
        let mut fields = line.split('|').map(str::trim);
        Some(Package::new(fields.next()?, fields.next()?))
    };
    listed.lines().filter_map(package).collect()
}

/// Of a package's record, what it needs in one exact version.
fn exact_needs(record: &str) -> Vec<Package> {
    let line = record.lines().find_map(|line| line.strip_prefix("Depends: "));
    let exact = |need: &str| {
        let (name, version) = need.trim().split_once(" (= ")?;
        Some(Package::new(name, version.strip_suffix(')')?))
    };
    line.unwrap_or_default().split(',').filter_map(exact).collect()
}

fn debs(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).context("cannot look at apt's downloads")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_those_of_the_machine_and_of_debian() {
        let listed = "http://a.example/node/ . nodistro . nodistro\n\
                      http://b.example/debian/ Debian Debian\n\
                      http://b.example/debian-security/ Debian Debian-Security\n";
        let mirrors = mirrors(listed).unwrap();
        assert_eq!(mirrors.main, "http://b.example/debian/");
        let line = mirrors.line(Suite::Security("bullseye-security")).unwrap();
        assert!(line.ends_with(" http://b.example/debian-security/ bullseye-security main\n"));
        assert!(super::mirrors("").is_none());
    }

    #[test]
    fn versions_are_read_as_apt_lists_them() {
        let listed = " linux | 7.3.4-1~bpo13+1 | x Packages\n linux | 6.1.176-1 | x Packages\n";
        let expected =
            [Package::new("linux", "7.3.4-1~bpo13+1"), Package::new("linux", "6.1.176-1")];
        assert_eq!(madison(listed), expected);
    }

    #[test]
    fn only_exact_needs_are_followed() {
        let record =
            "Package: linux\nDepends: kmod | x, linux-image-7 (= 7.3-1), linux-base (>= 4)\n";
        assert_eq!(exact_needs(record), [Package::new("linux-image-7", "7.3-1")]);
    }
}
