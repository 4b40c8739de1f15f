//! The clients in Java: the AWS SDK's jars as packages for Python carry them, since Debian has none.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Part, Setup, python};
use crate::debian::{self, Needed};
use crate::process;

/// `java` runs a source file where there is a compiler.
const COMPILER: Needed = Needed { command: "javac", package: "openjdk-17-jdk-headless" };

/// What the older SDK's core uses; the newer comes with all of it.
const LIBRARIES: [&str; 6] = [
    "libcommons-codec-java",
    "libcommons-logging-java",
    "libhttpclient-java",
    "libjackson2-annotations-java",
    "libjackson2-databind-java",
    "libjoda-time-java",
];

/// A source distribution on the Python Package Index.
struct Carrier {
    version: &'static str,
    sha256: &'static str,
    /// Of its files, as tar matches names.
    jar: &'static str,
}

const NAME: &str = "sagemaker_pyspark";

const CARRIERS: [Carrier; 2] = [
    Carrier {
        version: "1.2.4",
        sha256: "7d9f69a63ae4e2dd95d29fceeacd2f8ad54f412b66ef519101a5053375d71ba7",
        jar: "*/aws-java-sdk-core-1.11.238.jar",
    },
    Carrier {
        version: "1.4.5",
        sha256: "05ca2d5081d7138ce29a8fb0a9cba077f28c825288ed07aed46a82e63c0bf1fb",
        jar: "*/aws-java-sdk-bundle-1.11.901.jar",
    },
];

impl Carrier {
    /// As pip takes it.
    fn requirement(&self) -> String {
        format!("{NAME}=={} --hash=sha256:{}\n", self.version, self.sha256)
    }

    fn install(&self, setup: &Setup<'_>, place: &Path) -> Result<()> {
        let name = format!("{NAME}-{}", self.version);
        let jars = place.join(&name);
        fs::create_dir(&jars).context("cannot make a directory for jars")?;
        let list = place.join("requirements.txt");
        fs::write(&list, self.requirement()).context("cannot write the list for pip")?;
        let mut pip = python::pip(setup, "download");
        pip.arg("--dest").arg(place).args(["--no-binary", NAME, "--requirement"]).arg(list);
        process::output(&mut pip).with_context(|| format!("pip cannot download {name}"))?;
        let archive = place.join(format!("{name}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&jars);
        tar.args(["--no-same-owner", "--strip-components=3", "--wildcards", self.jar]);
        process::output(&mut tar).with_context(|| format!("{name} has no {}", self.jar))?;
        fs::remove_file(archive).context("cannot remove a downloaded archive")
    }
}

pub(super) fn part() -> Part {
    Part { name: "java", list: CARRIERS.map(|carrier| carrier.requirement()).concat(), install }
}

fn install(setup: &Setup<'_>, place: &Path) -> Result<()> {
    debian::install_for(&[COMPILER])?;
    debian::install(&LIBRARIES)?;
    CARRIERS.iter().try_for_each(|carrier| carrier.install(setup, place))
}
