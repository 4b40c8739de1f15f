//! The clients in Go, built from Debian's sources of the SDKs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Part, Setup};
use crate::{debian, process};

const PACKAGES: [&str; 4] = [
    "golang-github-aws-aws-sdk-go-dev",
    "golang-github-aws-aws-sdk-go-v2-dev",
    "golang-github-minio-minio-go-v7-dev",
    "golang-go",
];

/// Directories of `xtask/clients/go`, and their programs.
const PROGRAMS: [(&str, &str); 3] = [
    ("aws-v1", include_str!("../../clients/go/aws-v1/main.go")),
    ("aws-v2", include_str!("../../clients/go/aws-v2/main.go")),
    ("minio", include_str!("../../clients/go/minio/main.go")),
];

pub(super) fn part() -> Part {
    let list = PROGRAMS.map(|(name, program)| format!("{name}\n{program}")).concat();
    Part { name: "go", list, install }
}

fn install(setup: &Setup<'_>, place: &Path) -> Result<()> {
    debian::install(&PACKAGES)?;
    for (name, _) in PROGRAMS {
        let mut go = Command::new("go");
        // Debian's libraries lie where Go looked for all of them before it had modules.
        go.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOPROXY", "off")]);
        go.env("GOTOOLCHAIN", "local").current_dir(setup.workspace.root().join("xtask/clients/go"));
        go.args(["build", "-o"]).arg(place.join(name)).arg(format!("./{name}"));
        process::output(&mut go).with_context(|| format!("cannot build the client {name}"))?;
    }
    Ok(())
}
