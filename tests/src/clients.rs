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

/// The patience with a client, start-up of its runtime included.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// AWS SDK for Python, today's.
    Boto3,
    /// AWS SDK for Python of 2018: IMDSv1, and strict about every byte.
    Boto2,
    /// AWS SDK for JavaScript, version 2.
    JavaScript2,
    /// A shell script with curl and awk, by IMDSv2.
    Curl,
}

/// What a client got.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Credentials {
    /// `AccessKeyId`
    pub access_key_id: String,
    /// `SecretAccessKey`
    pub secret_access_key: String,
    /// `Token`
    pub token: String,
    /// `Expiration`
    pub expiration: String,
    /// How long the client took to get it, in milliseconds.
    pub took_ms: u64,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Boto3, Self::Boto2, Self::JavaScript2, Self::Curl];

    /// As people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boto3 => "boto3",
            Self::Boto2 => "boto 2.49",
            Self::JavaScript2 => "AWS SDK for JavaScript 2",
            Self::Curl => "curl",
        }
    }

    fn command(self, place: &Place) -> Result<Command> {
        match self {
            Self::Boto3 => script(place, python()?, "-c", include_str!("clients/boto3.py")),
            Self::Boto2 => script(place, python()?, "-c", include_str!("clients/boto2.py")),
            Self::Curl => script(place, "sh".into(), "-c", include_str!("clients/curl.sh")),
            Self::JavaScript2 => {
                let file = include_str!("clients/javascript2.js");
                let mut command = script(place, "node".into(), "-e", file)?;
                command.env("NODE_PATH", setting("PODROLE_NODE_MODULES")?);
                // It would otherwise print that version 2 has reached its end.
                command.env("AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE", "1");
                Ok(command)
            }
        }
    }
}

fn python() -> Result<PathBuf> {
    setting("PODROLE_PYTHON")
}

fn setting(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from);
    path.with_context(|| format!("{name} is not set: run `cargo xtask test`"))
}

fn script(place: &Place, program: PathBuf, flag: &str, text: &str) -> Result<Command> {
    let mut command = place.command(program)?;
    command.args([flag, text]);
    Ok(command)
}

impl Place {
    /// Lets a client look for credentials here. `None`: it found none and says so as it should.
    ///
    /// # Errors
    /// Where the client fails in any other way.
    pub fn credentials_by(&self, client: Client) -> Result<Option<Credentials>> {
        let finished = process::run(&mut client.command(self)?, b"", PATIENCE)?;
        let said = finished.ok().with_context(|| format!("{} in a pod", client.name()))?;
        serde_json::from_str(&said).with_context(|| format!("{} said {said:?}", client.name()))
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
        Ok(Self { access_key_id, secret_access_key, token, expiration, took_ms })
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
