//! The harness's own HTTP requests, made by `curl` inside a namespace: it speaks TLS too, which a
//! real API server asks for.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::place::Place;
use crate::process;

/// How requests of the harness can be told from those of the agent.
pub const USER_AGENT: &str = "podrole-test-harness";

/// Status and body of an answer.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Reply {
    /// The body of a success (2xx).
    ///
    /// # Errors
    /// Any other status, with the body.
    pub fn ok(self) -> Result<String> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        bail!("HTTP {}: {}", self.status, self.body.trim())
    }
}

/// Sends a request from `place`.
///
/// # Errors
/// Where nothing was answered, as curl says it.
pub fn request(
    place: &Place,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Reply> {
    let mut command = place.command("curl")?;
    command.args(["--silent", "--show-error", "--insecure", "--max-time", "10", "--globoff"]);
    command.args([
        "--user-agent",
        USER_AGENT,
        "--request",
        method,
        "--write-out",
        "\n%{http_code}",
    ]);
    for (name, value) in headers {
        command.arg("--header").arg(format!("{name}: {value}"));
    }
    if !body.is_empty() {
        command.args(["--data-binary", "@-"]);
    }
    command.arg(url);
    let finished = process::run(&mut command, body.as_bytes(), Duration::from_secs(15))?;
    let output = finished.ok().with_context(|| format!("{method} {url}"))?;
    let (body, status) = output.rsplit_once('\n').context("curl printed no status")?;
    Ok(Reply { status: status.parse()?, body: body.to_owned() })
}
