//! The server behind the Kubernetes API, pretend or real, and how either is made to fail.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Seen;
use super::real::Real;
use crate::curl;
use crate::place::Place;
use crate::pretend::log::{self, Entry};
use crate::process::{self, Process};

/// The bearer token that may do everything.
pub(super) const TOKEN: &str = "test-token";

/// The pretend server, or a real one.
#[derive(Debug)]
pub(super) enum Server {
    Pretend { _process: Process, log: PathBuf },
    Real(Real),
}

const PRETEND_ADDRESS: &str = "127.0.0.1:6443";
const PRETEND_URL: &str = "http://127.0.0.1:6443";

impl Server {
    pub(super) fn start(place: &Place, directory: &Path) -> Result<Self> {
        match std::env::var_os("KUBEBUILDER_ASSETS") {
            Some(binaries) => Ok(Self::Real(Real::start(place, directory, binaries.into())?)),
            None => Self::start_pretend(place, directory),
        }
    }

    fn start_pretend(place: &Place, directory: &Path) -> Result<Self> {
        let log = directory.join("kubernetes.requests");
        let mut command = place.command(process::own_binary("podrole-pretend")?)?;
        command.args(["kubernetes", "--until-stdin-closes", "--bearer-token", TOKEN]);
        command.args(["--listen", PRETEND_ADDRESS, "--log"]).arg(&log);
        let output = directory.join("kubernetes.log");
        let mut process = Process::spawn("the pretend API server", &mut command, &output)?;
        process.wait_for_lines("listening on", 1)?;
        Ok(Self::Pretend { _process: process, log })
    }

    pub(super) fn url(&self) -> &str {
        match self {
            Self::Pretend { .. } => PRETEND_URL,
            Self::Real(_) => Real::URL,
        }
    }

    pub(super) fn is_pretend(&self) -> bool {
        matches!(self, Self::Pretend { .. })
    }

    pub(super) fn control(
        &self,
        place: &Place,
        method: &str,
        what: &str,
        body: &Value,
    ) -> Result<()> {
        anyhow::ensure!(self.is_pretend(), "a real API server cannot be told how to behave");
        control(place, method, what, body)
    }

    /// An error where it has ended by itself.
    pub(super) fn ensure_running(&self) -> Result<()> {
        match self {
            Self::Pretend { .. } => Ok(()),
            Self::Real(real) => real.ensure_running(),
        }
    }

    pub(super) fn seen(&self) -> Result<Vec<Seen>> {
        match self {
            Self::Pretend { log, .. } => {
                let entries: Vec<Entry<Value>> = log::read(log)?;
                let others = entries.into_iter().filter(|e| is_not_ours(e.user_agent.as_deref()));
                Ok(others.map(|e| Seen { method: e.method, target: e.target }).collect())
            }
            Self::Real(real) => real.seen(),
        }
    }

    pub(super) fn cut_watches(&self, place: &Place) -> Result<()> {
        match self {
            Self::Pretend { .. } => control(place, "POST", "disconnect", &Value::Null),
            Self::Real(_) => Real::cut_connections(place),
        }
    }

    pub(super) fn forget_history(&self, place: &Place) -> Result<()> {
        match self {
            Self::Pretend { .. } => {
                control(place, "POST", "compact", &Value::Null)?;
                self.cut_watches(place)
            }
            Self::Real(real) => real.forget_history(place),
        }
    }

    pub(super) fn fail(&self, place: &Place) -> Result<()> {
        match self {
            Self::Pretend { .. } => {
                control(place, "PUT", "behaviour", &json!({ "answer": "unavailable" }))?;
                self.cut_watches(place)
            }
            Self::Real(real) => real.stop(),
        }
    }

    pub(super) fn recover(&self, place: &Place) -> Result<()> {
        match self {
            Self::Pretend { .. } => {
                control(place, "PUT", "behaviour", &json!({ "answer": "normal" }))
            }
            Self::Real(real) => real.restart(place),
        }
    }
}

fn control(place: &Place, method: &str, what: &str, body: &Value) -> Result<()> {
    let url = format!("{PRETEND_URL}/_pretend/{what}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let json = [("Content-Type", "application/json")];
    curl::request(place, method, &url, &json, &body)?.ok().context(url)?;
    Ok(())
}

pub(super) fn is_not_ours(user_agent: Option<&str>) -> bool {
    user_agent != Some(curl::USER_AGENT)
}
