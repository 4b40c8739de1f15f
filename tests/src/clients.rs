//! Real AWS clients, unmodified, as programs that run in pods: each asks as its library does by itself.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::aws::STS_URL;
use crate::place::Place;
use crate::pretend::node;
use crate::pretend::sts::{self, session::Session};
use crate::process;

mod list;

pub use list::{ALL, BOTO2, BOTO3, CURL, FEW, JAVASCRIPT2};

/// The patience with a client, start-up of its runtime included.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its name in pods and roles: lower case, digits, hyphens.
    pub id: &'static str,
    /// As people call it.
    pub name: &'static str,
    /// How it asks.
    pub speaks: Speaks,
    /// Whether it looks for its region, too.
    pub region: bool,
    runs: Runs,
}

/// What a client can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// `IMDSv1` alone: requests without a token.
    V1,
    /// `IMDSv2` alone.
    V2,
    /// `IMDSv2`, and `IMDSv1` where no token is to be had.
    Both,
}

/// What its program is. Paths are relative to where `cargo xtask test` installed the clients.
#[derive(Debug)]
enum Runs {
    /// A script for the Python that Boto 3 is installed for; more modules in the directory named.
    Python { modules: Option<&'static str>, script: &'static str },
    /// A script for Debian's Python.
    DebianPython(&'static str),
    /// A script for Node.js, which loads the SDK by this name.
    Node { sdk: &'static str, script: &'static str },
    /// A script for `sh`.
    Shell(&'static str),
    /// The AWS CLI of this path.
    AwsCli(&'static str),
    /// A script for Ruby.
    Ruby(&'static str),
    /// A script for PHP, of this Debian package's version.
    Php { package: &'static str, script: &'static str },
    /// The Java program, with the jars of this directory and Debian's of these names.
    Java { jars: &'static str, debian: &'static [&'static str] },
    /// A program built by `cargo xtask test`; where it does not know its version, Debian's package.
    Program { path: &'static str, package: Option<&'static str> },
    /// One of this package's own.
    Own(&'static str),
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Credentials {
    /// `AccessKeyId`
    pub access_key_id: String,
    /// `SecretAccessKey`; empty where the client only signs with it.
    #[serde(default)]
    pub secret_access_key: String,
    /// `Token`
    pub token: String,
    /// `Expiration`, where the client tells it.
    pub expiration: Option<String>,
    /// The region, where the client was asked for it and found it.
    pub region: Option<String>,
    /// The client's version, where it tells it.
    pub version: Option<String>,
    /// How long the client took to get it, in milliseconds.
    pub took_ms: u64,
}

impl Client {
    fn command(&self, place: &Place) -> Result<Command> {
        match self.runs {
            Runs::Python { modules, script } => {
                let mut command = with(place, setting("PODROLE_PYTHON")?, ["-c", script])?;
                if let Some(modules) = modules {
                    command.env("PYTHONPATH", installed(modules)?);
                }
                Ok(command)
            }
            Runs::DebianPython(script) => with(place, "/usr/bin/python3".into(), ["-c", script]),
            Runs::Node { sdk, script } => {
                let mut command = with(place, "node".into(), ["-e", script])?;
                command.env("NODE_PATH", setting("PODROLE_NODE_MODULES")?).env("AWS_SDK", sdk);
                // It would otherwise print that version 2 has reached its end.
                command.env("AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE", "1");
                Ok(command)
            }
            Runs::Shell(script) => with(place, "sh".into(), ["-c", script]),
            Runs::AwsCli(path) => {
                let script = include_str!("clients/aws_cli.sh");
                let mut command = with(place, "bash".into(), ["-c", script])?;
                command.env("AWS", installed(path)?);
                Ok(command)
            }
            Runs::Ruby(script) => with(place, "ruby".into(), ["-e", script]),
            Runs::Php { script, .. } => with(place, "php".into(), ["-r", script]),
            Runs::Java { jars, debian } => java(place, jars, debian),
            Runs::Program { path, .. } => place.command(installed(path)?),
            Runs::Own(name) => place.command(process::own_binary(name)?),
        }
    }

    /// Whether `cargo xtask test` installed it here.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        let (Runs::Java { jars: path, .. }
        | Runs::Program { path, .. }
        | Runs::Python { modules: Some(path), .. }) = self.runs
        else {
            return true;
        };
        installed(path).is_ok_and(|path| path.exists())
    }

    /// Whether its version is Debian's choice, not ours.
    #[must_use]
    pub fn is_of_debian(&self) -> bool {
        match self.runs {
            Runs::DebianPython(_)
            | Runs::Shell(_)
            | Runs::Ruby(_)
            | Runs::Php { .. }
            | Runs::Program { .. } => true,
            Runs::AwsCli(path) => path.starts_with('/'),
            Runs::Python { .. } | Runs::Node { .. } | Runs::Java { .. } | Runs::Own(_) => false,
        }
    }

    /// Debian's package that has its version.
    fn package(&self) -> Option<&'static str> {
        match self.runs {
            Runs::Php { package, .. } => Some(package),
            Runs::Program { package, .. } => package,
            _ => None,
        }
    }

    /// The version of what ran, by what it said itself or else by its Debian package.
    pub fn version(&self, said: &Credentials) -> Result<String> {
        if let Some(version) = &said.version {
            return Ok(version.clone());
        }
        let package = self.package().with_context(|| format!("{} tells no version", self.name))?;
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Version}", package]);
        let version = process::run(&mut query, b"", PATIENCE)?.ok()?;
        Ok(version.split_once('-').map_or(version.as_str(), |(upstream, _)| upstream).to_owned())
    }
}

fn java(place: &Place, jars: &str, debian: &[&str]) -> Result<Command> {
    let own = installed(jars)?.join("*").display().to_string();
    let debian = debian.iter().map(|name| format!("/usr/share/java/{name}.jar"));
    let path: Vec<_> = std::iter::once(own).chain(debian).collect();
    let mut command = place.command("java")?;
    // One that compiles by itself does so for speed that nobody waits for.
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &path.join(":")]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/clients/Client.java"));
    Ok(command)
}

pub(crate) fn installed(path: &str) -> Result<PathBuf> {
    Ok(setting("PODROLE_CLIENTS")?.join(path))
}

pub(crate) fn setting(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from);
    path.with_context(|| format!("{name} is not set: run `cargo xtask test`"))
}

fn with(place: &Place, program: PathBuf, arguments: [&str; 2]) -> Result<Command> {
    let mut command = place.command(program)?;
    command.args(arguments);
    Ok(command)
}

impl Place {
    /// Lets a client look for credentials here. `None`: it found none and says so as it should.
    ///
    /// # Errors
    /// Where the client fails in any other way.
    pub fn credentials_by(&self, client: &Client) -> Result<Option<Credentials>> {
        Self::run(client, client.command(self)?)
    }

    /// The same, with environment variables that tell the client where to look.
    pub fn credentials_with(
        &self,
        client: &Client,
        environment: &[(&str, &str)],
    ) -> Result<Option<Credentials>> {
        let mut command = client.command(self)?;
        command.envs(environment.iter().copied());
        Self::run(client, command)
    }

    /// Lets a client look for credentials here, and for its region if it knows how.
    ///
    /// # Errors
    /// Where the client fails in any other way than finding nothing.
    pub fn credentials_and_region_by(&self, client: &Client) -> Result<Option<Credentials>> {
        let mut command = client.command(self)?;
        if client.region {
            command.env("ASK_REGION", "1");
        }
        Self::run(client, command)
    }

    fn run(client: &Client, mut command: Command) -> Result<Option<Credentials>> {
        let finished = process::run(&mut command, b"", PATIENCE)?;
        let said = finished.ok().with_context(|| format!("{} in a pod", client.name))?;
        serde_json::from_str(&said).with_context(|| format!("{} said {said:?}", client.name))
    }
}

/// The credentials document of the metadata service, as far as clients read it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

impl Credentials {
    /// Reads a credentials document, which took so long to get.
    pub fn of_document(text: &str, took: Duration) -> Result<Self> {
        let document: Document = serde_json::from_str(text).with_context(|| text.to_owned())?;
        let Document { access_key_id, secret_access_key, token, expiration } = document;
        let took_ms = u64::try_from(took.as_millis())?;
        let (expiration, region, version) = (Some(expiration), None, None);
        Ok(Self { access_key_id, secret_access_key, token, expiration, region, version, took_ms })
    }

    /// Who these credentials are for, which the pretend STS writes into its tokens.
    ///
    /// # Errors
    /// For any other token, the node's own among them.
    pub fn session(&self) -> Result<Session> {
        sts::read_token(&self.token)
    }
}

impl Place {
    /// The ARN that STS knows the AWS CLI by here; `None`: the CLI found no credentials.
    pub fn caller_identity_by_aws_cli(&self) -> Result<Option<String>> {
        let mut command = self.command(setting("PODROLE_PYTHON_BIN")?.join("aws"))?;
        command.args(["sts", "get-caller-identity", "--query", "Arn", "--output", "text"]);
        command.args(["--region", node::REGION, "--endpoint-url", STS_URL]);
        let finished = process::run(&mut command, b"", PATIENCE)?;
        if finished.stderr.contains("Unable to locate credentials") {
            return Ok(None);
        }
        Ok(Some(finished.ok().context("aws sts get-caller-identity")?.trim().to_owned()))
    }
}
