//! Installs real AWS clients, old and new, into the target directory: the tests and the demo run
//! them unmodified.

mod go;
mod java;
mod kubernetes;
mod node;
mod python;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::debian::{self, Needed};
use crate::workspace::Workspace;

/// What the tests' pods, the clients and their installation run.
const COMMANDS: [Needed; 12] = [
    Needed { command: "curl", package: "curl" },
    Needed { command: "ip", package: "iproute2" },
    Needed { command: "mount", package: "mount" },
    Needed { command: "nft", package: "nftables" },
    Needed { command: "node", package: "nodejs" },
    Needed { command: "npm", package: "npm" },
    Needed { command: "nsenter", package: "util-linux" },
    Needed { command: "ps", package: "procps" },
    Needed { command: "python3", package: "python3" },
    Needed { command: "sysctl", package: "procps" },
    Needed { command: "tc", package: "iproute2" },
    Needed { command: "wrk", package: "wrk" },
];

/// Clients that Debian has.
const PACKAGES: [&str; 6] =
    ["awscli", "busybox", "php-async-aws-core", "php-cli", "ruby-aws-sdk-core", "s3cmd"];

/// Which clients are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Which {
    /// Today's in Python and JavaScript, and boto 2.
    Few,
    /// Those that need no compiler, and an STS that others wrote: 150 MB.
    Light,
    /// Those in C++, Go and Java too: 500 MB more to download.
    All,
}

/// Something that is installed into a directory of its name.
struct Part {
    name: &'static str,
    /// What is installed: another list, and it is installed anew.
    list: String,
    install: fn(&Setup<'_>, &Path) -> Result<()>,
}

/// What installing takes.
struct Setup<'a> {
    workspace: &'a Workspace,
    /// Where all parts go.
    directory: &'a Path,
}

/// Where the clients are.
pub(crate) struct Clients {
    directory: PathBuf,
}

impl Clients {
    /// What the tests and the demo find them by.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("PODROLE_CLIENTS", self.directory.clone()),
            ("PODROLE_PYTHON", python::interpreter(&self.directory)),
            ("PODROLE_PYTHON_BIN", self.directory.join("python/bin")),
            ("PODROLE_NODE_MODULES", self.directory.join("node/node_modules")),
        ]
    }
}

/// Installs the clients, and Debian's packages that they and the tests need.
pub(crate) fn install(workspace: &Workspace, which: Which) -> Result<Clients> {
    debian::install_for(&COMMANDS)?;
    let directory = workspace.target().join("clients");
    let mut parts = vec![python::today(), node::part()];
    if which >= Which::Light {
        debian::install(&PACKAGES)?;
        parts.extend(python::old());
        parts.extend([python::moto(), kubernetes::part()]);
    }
    if which >= Which::All {
        parts.extend([go::part(), java::part(), python::cpp()]);
    }
    install_parts(workspace, &directory, &parts)?;
    Ok(Clients { directory })
}

/// Installs helm, and says where it is.
pub(crate) fn helm(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target().join("clients");
    install_parts(workspace, &directory, &[python::today(), kubernetes::part()])?;
    Ok(kubernetes::helm(&directory))
}

fn install_parts(workspace: &Workspace, directory: &Path, parts: &[Part]) -> Result<()> {
    let setup = Setup { workspace, directory };
    parts.iter().try_for_each(|part| part.install(&setup))
}

impl Part {
    fn install(&self, setup: &Setup<'_>) -> Result<()> {
        let place = setup.directory.join(self.name);
        // Written last, with what was installed: a half-made installation has none.
        let stamp = setup.directory.join(format!("{}.installed", self.name));
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == self.list) {
            return Ok(());
        }
        println!("installing AWS clients into {}", place.display());
        if place.exists() {
            fs::remove_dir_all(&place).context("cannot remove the old AWS clients")?;
        }
        fs::create_dir_all(&place).context("cannot make a directory for the AWS clients")?;
        (self.install)(setup, &place)?;
        fs::write(stamp, &self.list).context("cannot write the stamp of the AWS clients")
    }
}
