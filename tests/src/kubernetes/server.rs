//! The processes behind the Kubernetes API, and how each of them is made to fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Seen;
use crate::curl;
use crate::place::Place;
use crate::pretend::log::{self, Entry};
use crate::process::{self, Process};
use crate::wait::PATIENCE;

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
            Self::Real(_) => REAL_URL,
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
            Self::Real(real) => real.restart(place),
        }
    }

    pub(super) fn forget_history(&self, place: &Place) -> Result<()> {
        match self {
            Self::Pretend { .. } => {
                control(place, "POST", "compact", &Value::Null)?;
                self.cut_watches(place)
            }
            // Its watch cache begins anew, and knows no older version.
            Self::Real(real) => real.restart(place),
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

fn is_not_ours(user_agent: Option<&str>) -> bool {
    user_agent != Some(curl::USER_AGENT)
}

/// kube-apiserver and etcd, with certificates of their own making.
#[derive(Debug)]
pub(super) struct Real {
    binaries: PathBuf,
    directory: PathBuf,
    apiserver: Mutex<Process>,
    _etcd: Process,
}

/// The node's own address: a real server refuses to advertise a loopback one.
const REAL_ADDRESS: &str = "10.0.0.10";
const REAL_URL: &str = "https://10.0.0.10:6443";
const ETCD: &str = "http://127.0.0.1:2379";

impl Real {
    fn start(place: &Place, directory: &Path, binaries: PathBuf) -> Result<Self> {
        let mut etcd = place.command(binaries.join("etcd"))?;
        etcd.arg("--data-dir").arg(directory.join("etcd")).args([
            "--unsafe-no-fsync",
            "--listen-client-urls",
            ETCD,
            "--advertise-client-urls",
            ETCD,
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
        ]);
        let etcd = Process::spawn("etcd", &mut etcd, &directory.join("etcd.log"))?;
        let mut key = place.command("openssl")?;
        key.args(["genrsa", "-out"]).arg(directory.join("service-account.key"));
        process::run(&mut key, b"", PATIENCE)?.ok().context("make a key by openssl")?;
        fs::write(directory.join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n"))?;
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
            "omitStages": ["ResponseStarted", "ResponseComplete", "Panic"],
            "rules": [{ "level": "Metadata" }]
        });
        fs::write(directory.join("audit-policy.json"), policy.to_string())?;
        let apiserver = Mutex::new(start_apiserver(place, directory, &binaries)?);
        Ok(Self { binaries, directory: directory.to_owned(), apiserver, _etcd: etcd })
    }

    fn stop(&self) -> Result<()> {
        self.apiserver.lock().unwrap_or_else(PoisonError::into_inner).kill()
    }

    fn restart(&self, place: &Place) -> Result<()> {
        self.stop()?;
        *self.apiserver.lock().unwrap_or_else(PoisonError::into_inner) =
            start_apiserver(place, &self.directory, &self.binaries)?;
        Ok(())
    }

    fn seen(&self) -> Result<Vec<Seen>> {
        let text = fs::read_to_string(self.directory.join("audit.requests"))?;
        let mut seen = Vec::new();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event: Value = serde_json::from_str(line)?;
            let text = |key: &str| event.get(key).and_then(Value::as_str);
            let itself =
                text("userAgent").is_some_and(|agent| agent.starts_with("kube-apiserver/"));
            if is_not_ours(text("userAgent")) && !itself {
                let method = text("verb").unwrap_or_default().to_uppercase();
                let target = text("requestURI").unwrap_or_default().to_owned();
                seen.push(Seen { method, target });
            }
        }
        Ok(seen)
    }
}

fn start_apiserver(place: &Place, directory: &Path, binaries: &Path) -> Result<Process> {
    let mut command = place.command(binaries.join("kube-apiserver"))?;
    command.args([
        "--etcd-servers",
        ETCD,
        "--bind-address",
        REAL_ADDRESS,
        "--secure-port=6443",
        "--authorization-mode=AlwaysAllow",
        "--disable-admission-plugins=ServiceAccount",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
    ]);
    for (flag, file) in [
        ("--cert-dir", "certificates"),
        ("--token-auth-file", "tokens.csv"),
        ("--service-account-key-file", "service-account.key"),
        ("--service-account-signing-key-file", "service-account.key"),
        ("--audit-policy-file", "audit-policy.json"),
        ("--audit-log-path", "audit.requests"),
    ] {
        command.arg(flag).arg(directory.join(file));
    }
    Process::spawn("kube-apiserver", &mut command, &directory.join("kubernetes.log"))
}
