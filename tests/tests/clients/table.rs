//! The table of clients: written with `PODROLE_WRITE_DOCS=1`, else compared.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::clients::{self, Client, Speaks};
use podrole_tests::pretend::log::Entry;
use podrole_tests::pretend::metadata::Line;
use podrole_tests::pretend::node::ROLE;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/clients.md");
const VARIABLE: &str = "PODROLE_WRITE_DOCS";
const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials";

const HEAD: &str = "\
# Clients

Each of these runs unmodified in a pod of the test
[clients](../tests/tests/clients/main.rs) and gets the credentials of that pod's own role, with the
[defaults](../README.md) (IMDSv1 allowed) and with `--imds-v1=deny`. Clients that know IMDSv1 alone
find no credentials then, which is what denying it means. Where the test asks a client for its region, it
finds the node's, with both.

This file is written by that test: `PODROLE_WRITE_DOCS=1 cargo xtask test clients`.

In the column of requests `~` stands for `/latest/meta-data/iam/security-credentials`. They are those
that the client sent to a metadata service without podrole, for credentials and then for the region. The time is from the client's first call to its credentials, once, in a debug build of podrole on
a busy machine with two processors: compare it with nothing.

| client | version | IMDSv1 allowed | IMDSv1 denied | region | requests | time |
|---|---|---|---|---|---|---|
";

const FOOT: &str = "
## Not run

| client | why |
|---|---|
| AWS SDK for Go 1 before IMDSv2 (1.25.37) | Debian has one version, and there is nowhere else to have it from |
| AWS SDK for Ruby 2 | Debian has version 3 alone |
| AWS SDK for PHP (Amazon's own) | not in Debian; AsyncAws is |
| AWS SDK for Java 2, for .NET, for Kotlin, for Swift | in none of the package registries that the tests may use (Debian's, Python's, npm's, Rust's) |
| MinIO client for JavaScript 8.0.7 | reads `AccessKeyID`, which EC2 does not send either |
| AWS SDK for Python 4 (`aws-credentials-imds`) | needs Python 3.12; boto 2, in the same environment, needs an older one |

botocore of 2016 to 2019 was written for a Python that is gone: the test's script puts back the names that
Python 3.10 removed from `collections` before it imports botocore, whose own code is untouched.
";

/// What is known of a client.
pub(crate) struct Row {
    pub(crate) client: &'static Client,
    version: String,
    requests: Vec<String>,
    /// With podrole.
    pub(crate) took_ms: u64,
}

impl Row {
    pub(crate) fn new(client: &'static Client, version: String, log: &[Entry<Line>]) -> Self {
        let requests = log.iter().map(|entry| format!("{} {}", entry.method, short(&entry.target)));
        Self { client, version, requests: requests.collect(), took_ms: 0 }
    }

    fn line(&self) -> String {
        let Self { client, version, requests, took_ms } = self;
        let denied = if client.speaks == Speaks::V1 { "finds none" } else { "its role" };
        let region = if client.region { "found" } else { "-" };
        let requests = requests.join("<br>");
        format!(
            "| {} | {version} | its role | {denied} | {region} | {requests} | {took_ms} ms |",
            client.name
        )
    }

    /// The cells that are the same each time: not the time, nor a version that Debian chooses.
    fn lasting(&self, line: &str) -> Vec<String> {
        let mut cells: Vec<_> = line.trim_matches('|').split('|').map(str::to_owned).collect();
        cells.pop();
        if self.client.is_of_debian() && cells.len() > 1 {
            cells.remove(1);
        }
        cells
    }
}

fn short(target: &str) -> String {
    let target = target.replacen(CREDENTIALS, "~", 1).replacen(ROLE, "ROLE", 1);
    format!("`{target}`")
}

/// Every row of the file that is about a client that ran must be as it ran.
pub(crate) fn write_or_compare(rows: &[Row]) -> Result<()> {
    if std::env::var_os(VARIABLE).is_some() {
        ensure!(
            rows.len() == clients::ALL.len(),
            "not all clients are there: --light-clients leaves some out"
        );
        let mut text = HEAD.to_owned();
        for row in rows {
            writeln!(text, "{}", row.line())?;
        }
        return Ok(fs::write(FILE, text + FOOT)?);
    }
    let text = fs::read_to_string(FILE).context(FILE)?;
    for row in rows {
        let written =
            text.lines().find(|line| line.starts_with(&format!("| {} |", row.client.name)));
        let same = written.is_some_and(|line| row.lasting(line) == row.lasting(&row.line()));
        let line = row.line();
        ensure!(
            same,
            "docs/clients.md has {written:?}, now it is\n{line}\nset {VARIABLE}=1 to write it"
        );
    }
    Ok(())
}
