//! A real kube-apiserver and its etcd, with certificates of their own making.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Seen;
use super::server::{TOKEN, is_not_ours};
use crate::curl;
use crate::place::Place;
use crate::process::{self, Process};
use crate::wait::PATIENCE;

/// The two processes. Fields go in this order.
#[derive(Debug)]
pub(super) struct Real {
    binaries: PathBuf,
    directory: PathBuf,
    apiserver: Mutex<Process>,
    etcd: Mutex<Process>,
}

/// The node's own address: a real server refuses to advertise a loopback one.
const ADDRESS: &str = "10.0.0.10";
const ETCD: &str = "http://127.0.0.1:2379";

impl Real {
    pub(super) const URL: &str = "https://10.0.0.10:6443";

    pub(super) fn start(place: &Place, directory: &Path, binaries: PathBuf) -> Result<Self> {
        let etcd = Mutex::new(start_etcd(place, directory, &binaries)?);
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
        Ok(Self { binaries, directory: directory.to_owned(), apiserver, etcd })
    }

    pub(super) fn ensure_running(&self) -> Result<()> {
        locked(&self.etcd).ensure_running()?;
        locked(&self.apiserver).ensure_running()
    }

    pub(super) fn stop(&self) -> Result<()> {
        locked(&self.apiserver).kill()
    }

    pub(super) fn restart(&self, place: &Place) -> Result<()> {
        self.stop()?;
        *locked(&self.apiserver) = start_apiserver(place, &self.directory, &self.binaries)?;
        Ok(())
    }

    /// Cuts all connections and leaves the server running: one that starts knows no history.
    pub(super) fn cut_connections(place: &Place) -> Result<()> {
        let mut ss = place.command("ss")?;
        ss.args(["--kill", "--no-header", "--tcp", "--numeric", "state", "established"]);
        ss.args(["sport", "=", ":6443"]);
        let cut = process::run(&mut ss, b"", PATIENCE)?.ok().context("cut connections by ss")?;
        // The server has one to itself at least; ss is silent about those that it cannot cut.
        ensure!(!cut.is_empty(), "ss cut no connection: the kernel needs CONFIG_INET_DIAG_DESTROY");
        Ok(())
    }

    /// A server that starts knows no version older than etcd's newest, so that one is made which
    /// nobody has seen.
    pub(super) fn forget_history(&self, place: &Place) -> Result<()> {
        self.stop()?;
        let written = ask_etcd(place, "put", &json!({ "key": "bmV3ZXI=", "value": "" }))?;
        let newest = written.pointer("/header/revision").context("etcd told no revision")?;
        ask_etcd(place, "compaction", &json!({ "revision": newest }))?;
        self.restart(place)
    }

    pub(super) fn seen(&self) -> Result<Vec<Seen>> {
        let text = fs::read_to_string(self.directory.join("audit.requests"))?;
        let mut seen = Vec::new();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event: Value = serde_json::from_str(line)?;
            let text = |key: &str| event.get(key).and_then(Value::as_str);
            let itself =
                text("userAgent").is_some_and(|agent| agent.starts_with("kube-apiserver/"));
            if is_not_ours(text("userAgent")) && !itself {
                let method = method(text("verb").unwrap_or_default());
                let target = text("requestURI").unwrap_or_default().to_owned();
                seen.push(Seen { method, target });
            }
        }
        Ok(seen)
    }
}

fn locked(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_etcd(place: &Place, directory: &Path, binaries: &Path) -> Result<Process> {
    let mut command = place.command(binaries.join("etcd"))?;
    command.arg("--data-dir").arg(directory.join("etcd")).args([
        "--unsafe-no-fsync",
        "--listen-client-urls",
        ETCD,
        "--advertise-client-urls",
        ETCD,
        "--listen-peer-urls",
        "http://127.0.0.1:2380",
    ]);
    Process::spawn("etcd", &mut command, &directory.join("etcd.log"))
}

fn start_apiserver(place: &Place, directory: &Path, binaries: &Path) -> Result<Process> {
    let mut command = place.command(binaries.join("kube-apiserver"))?;
    command.args([
        "--etcd-servers",
        ETCD,
        "--bind-address",
        ADDRESS,
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

/// Asks etcd by its JSON gateway, where keys and values are in base64.
fn ask_etcd(place: &Place, what: &str, body: &Value) -> Result<Value> {
    let url = format!("{ETCD}/v3/kv/{what}");
    let json = [("Content-Type", "application/json")];
    let reply = curl::request(place, "POST", &url, &json, &body.to_string())?;
    Ok(serde_json::from_str(&reply.ok().context(url)?)?)
}

/// The HTTP method of a verb as the audit log calls it ("Authorization Overview" in the Kubernetes
/// documentation has the table).
fn method(verb: &str) -> String {
    match verb {
        "list" | "watch" => "GET".to_owned(),
        "create" => "POST".to_owned(),
        "update" => "PUT".to_owned(),
        "deletecollection" => "DELETE".to_owned(),
        same => same.to_uppercase(),
    }
}
