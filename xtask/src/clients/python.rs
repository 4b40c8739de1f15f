//! The clients in Python: today's in an environment, and versions of botocore that cannot be beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Part, Setup};
use crate::{debian, process};

const TODAY: &str = include_str!("../../clients/requirements.txt");
const BOTOCORE_4: &str = include_str!("../../clients/botocore-1.4.txt");
const BOTOCORE_8: &str = include_str!("../../clients/botocore-1.8.txt");
const BOTOCORE_12: &str = include_str!("../../clients/botocore-1.12.txt");
const MOTO: &str = include_str!("../../clients/moto.txt");
const CPP: &str = include_str!("../../clients/cpp.txt");

/// To be installed first: the others are installed by its pip.
pub(super) fn today() -> Part {
    Part { name: "python", list: TODAY.to_owned(), install: environment }
}

pub(super) fn old() -> [Part; 3] {
    let part = |name, list: &str, install| Part { name, list: list.to_owned(), install };
    [
        part("botocore-1.4", BOTOCORE_4, |setup, place| modules(setup, place, BOTOCORE_4)),
        part("botocore-1.8", BOTOCORE_8, |setup, place| modules(setup, place, BOTOCORE_8)),
        part("botocore-1.12", BOTOCORE_12, |setup, place| modules(setup, place, BOTOCORE_12)),
    ]
}

/// An STS that others wrote, in modules for Python.
pub(super) fn moto() -> Part {
    Part {
        name: "moto",
        list: MOTO.to_owned(),
        install: |setup, place| modules(setup, place, MOTO),
    }
}

/// The AWS SDK for C++, in a module for Python.
pub(super) fn cpp() -> Part {
    Part { name: "cpp", list: CPP.to_owned(), install: |setup, place| modules(setup, place, CPP) }
}

/// The environment's Python.
pub(super) fn interpreter(clients: &Path) -> PathBuf {
    clients.join("python/bin/python")
}

/// Its pip, with a verb.
pub(super) fn pip(setup: &Setup<'_>, verb: &str) -> Command {
    let mut pip = Command::new(interpreter(setup.directory));
    pip.args(["-m", "pip", verb, "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip
}

fn environment(setup: &Setup<'_>, place: &Path) -> Result<()> {
    let python = python();
    if !process::succeeds(Command::new(python).args(["-c", "import ensurepip, venv"])) {
        debian::install(&["python3-venv"])?;
    }
    process::output(Command::new(python).args(["-m", "venv"]).arg(place))
        .context("cannot make a Python environment")?;
    install(pip(setup, "install"), place, TODAY)
}

/// Modules in a directory, for `PYTHONPATH`.
pub(super) fn modules(setup: &Setup<'_>, place: &Path, list: &str) -> Result<()> {
    let mut pip = pip(setup, "install");
    pip.arg("--target").arg(place);
    install(pip, place, list)
}

fn install(mut pip: Command, place: &Path, list: &str) -> Result<()> {
    let requirements = place.join("requirements.txt");
    fs::write(&requirements, list).context("cannot write the list for pip")?;
    process::output(pip.arg("--requirement").arg(requirements))
        .context("pip cannot install the AWS clients")?;
    Ok(())
}

/// Boto 2 does not start on Python 3.12 and later.
fn python() -> &'static str {
    let runs = |name: &str| process::succeeds(Command::new(name).arg("--version"));
    ["python3.11", "python3.10"].into_iter().find(|name| runs(name)).unwrap_or("python3")
}
