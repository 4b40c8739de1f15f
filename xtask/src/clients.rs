//! Installs real AWS clients, old and new, into the target directory: the tests and the demo run
//! them unmodified.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::debian::{self, Needed};
use crate::process;
use crate::workspace::Workspace;

const REQUIREMENTS: &str = include_str!("../clients/requirements.txt");
const PACKAGE: &str = include_str!("../clients/package.json");
const PACKAGE_LOCK: &str = include_str!("../clients/package-lock.json");

/// What the tests' pods, the clients and their installation run.
const COMMANDS: [Needed; 11] = [
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
];

/// Where the clients are.
pub(crate) struct Clients {
    directory: PathBuf,
}

impl Clients {
    /// What the tests and the demo find them by.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("PODROLE_PYTHON", self.python()),
            ("PODROLE_PYTHON_BIN", self.directory.join("python/bin")),
            ("PODROLE_NODE_MODULES", self.directory.join("node/node_modules")),
        ]
    }

    fn python(&self) -> PathBuf {
        self.directory.join("python/bin/python")
    }

    /// Written last, with the lists that were installed: a half-made installation has none.
    fn stamp(&self) -> PathBuf {
        self.directory.join("installed.txt")
    }

    fn are_installed(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == lists())
            && self.python().is_file()
    }
}

/// Installs the clients, and Debian's packages that they and the tests need.
pub(crate) fn install(workspace: &Workspace) -> Result<Clients> {
    debian::install_for(&COMMANDS)?;
    let clients = Clients { directory: workspace.target().join("clients") };
    if clients.are_installed() {
        return Ok(clients);
    }
    println!("installing AWS clients into {}", clients.directory.display());
    if clients.directory.exists() {
        fs::remove_dir_all(&clients.directory).context("cannot remove the old AWS clients")?;
    }
    install_python(&clients.directory)?;
    install_node(&clients.directory)?;
    fs::write(clients.stamp(), lists()).context("cannot write the stamp of the AWS clients")?;
    Ok(clients)
}

fn lists() -> String {
    [REQUIREMENTS, PACKAGE, PACKAGE_LOCK].concat()
}

fn install_python(clients: &Path) -> Result<()> {
    let python = python();
    if !process::succeeds(Command::new(python).args(["-c", "import ensurepip, venv"])) {
        debian::install(&["python3-venv"])?;
    }
    let venv = clients.join("python");
    process::output(Command::new(python).args(["-m", "venv"]).arg(&venv))
        .context("cannot make a Python environment")?;
    let requirements = clients.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).context("cannot write the list for pip")?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    process::output(pip.arg("--requirement").arg(requirements))
        .context("pip cannot install the AWS clients")?;
    Ok(())
}

/// Boto 2 does not start on Python 3.12 and later.
fn python() -> &'static str {
    let runs = |name: &str| process::succeeds(Command::new(name).arg("--version"));
    ["python3.11", "python3.10"].into_iter().find(|name| runs(name)).unwrap_or("python3")
}

fn install_node(clients: &Path) -> Result<()> {
    let node = clients.join("node");
    fs::create_dir_all(&node).context("cannot make a directory for the AWS clients")?;
    fs::write(node.join("package.json"), PACKAGE).context("cannot write the list for npm")?;
    fs::write(node.join("package-lock.json"), PACKAGE_LOCK).context("cannot write npm's lock")?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&node);
    process::output(&mut npm).context("npm cannot install the AWS clients")?;
    Ok(())
}
