//! The Kubernetes API as the tests use it: objects written by plain HTTP, and outages.
//!
//! The server is the pretend one, or a real kube-apiserver with etcd where `KUBEBUILDER_ASSETS` names
//! the directory of their binaries.

mod objects;
mod real;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::curl::{self, Reply};
use crate::place::Place;
pub use crate::pretend::kubernetes::behaviour::{Behaviour, Telling, Way};
use crate::wait;
use server::Server;

/// How long a server may take to answer: a real one needs seconds of an idle machine.
const START: Duration = wait::PATIENCE.saturating_mul(3);

/// A running API server.
#[derive(Debug)]
pub struct Kubernetes {
    server: Server,
    place: Place,
    kubeconfig: PathBuf,
}

/// A request that the API server got from somebody else than the harness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, …; a watch is a `GET` too.
    pub method: String,
    /// Path and query.
    pub target: String,
}

impl Kubernetes {
    /// Starts an API server in `place` that keeps its files in `directory`, and waits until it answers.
    pub fn start(place: &Place, directory: &Path) -> Result<Self> {
        let server = Server::start(place, directory)?;
        let kubeconfig = directory.join("kubeconfig");
        fs::write(&kubeconfig, kubeconfig_of(server.url(), server::TOKEN).to_string())?;
        let kubernetes = Self { server, place: place.clone(), kubeconfig };
        kubernetes.wait_until_ready()?;
        Ok(kubernetes)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let mut last = String::from("no answer");
        let ready = wait::until("the API server", START, || {
            self.server.ensure_running()?;
            let reply = self.request("GET", "/readyz", "", &Value::Null);
            let ready = reply.as_ref().is_ok_and(|reply| reply.status == 200);
            last = reply.map_or_else(|e| format!("{e:#}"), |r| format!("{} {}", r.status, r.body));
            Ok(ready.then_some(()))
        });
        ready.with_context(|| format!("last of /readyz: {last}"))
    }

    /// A kubeconfig that may do everything.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Makes a namespace, where there is none of that name yet.
    pub fn ensure_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name }
        });
        let reply = self.request("POST", "/api/v1/namespaces", "application/json", &namespace)?;
        if reply.status != 409 {
            reply.ok().with_context(|| format!("create namespace {name}"))?;
        }
        Ok(())
    }

    /// Changes a Namespace, which is made where there is none of that name yet.
    pub fn patch_namespace(&self, name: &str, patch: &Value) -> Result<()> {
        self.ensure_namespace(name)?;
        self.patch(&format!("/api/v1/namespaces/{name}"), patch)
    }

    /// Makes a ServiceAccount with annotations, where there is none of that name yet.
    pub fn ensure_service_account(
        &self,
        namespace: &str,
        name: &str,
        annotations: &[(&str, &str)],
    ) -> Result<()> {
        self.ensure_namespace(namespace)?;
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": name, "annotations": annotations }
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let reply = self.request("POST", &path, "application/json", &account)?;
        if reply.status != 409 {
            reply.ok().with_context(|| format!("create ServiceAccount {namespace}/{name}"))?;
        }
        Ok(())
    }

    /// Creates a Node with these labels.
    pub fn create_node(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels }
        });
        let reply = self.request("POST", "/api/v1/nodes", "application/json", &node)?;
        reply.ok().with_context(|| format!("create node {name}"))?;
        Ok(())
    }

    /// Changes a Node by a merge patch.
    pub fn patch_node(&self, name: &str, patch: &Value) -> Result<()> {
        self.patch(&format!("/api/v1/nodes/{name}"), patch)
    }

    /// The Node of this name.
    pub fn node(&self, name: &str) -> Result<Value> {
        let reply = self.request("GET", &format!("/api/v1/nodes/{name}"), "", &Value::Null)?;
        Ok(serde_json::from_str(&reply.ok().with_context(|| format!("get node {name}"))?)?)
    }

    /// Sets a label of a Node, or removes it. The Node is made where there is none of that name yet.
    pub fn label_node(&self, name: &str, label: &str, value: Option<&str>) -> Result<()> {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        let reply = self.request("POST", "/api/v1/nodes", "application/json", &node)?;
        if reply.status != 409 {
            reply.ok().with_context(|| format!("create node {name}"))?;
        }
        let patch = json!({ "metadata": { "labels": { label: value } } });
        self.patch(&format!("/api/v1/nodes/{name}"), &patch)
    }

    /// Creates a pod and gives the UID that the server chose.
    pub fn create_pod(&self, namespace: &str, pod: &Value) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let created: Value = serde_json::from_str(
            &self.request("POST", &path, "application/json", pod)?.ok().context("create a pod")?,
        )?;
        let uid = created.pointer("/metadata/uid").and_then(Value::as_str);
        uid.map(str::to_owned).context("the server gave a pod without UID")
    }

    /// Makes a Namespace, a ServiceAccount or a `DaemonSet`, or changes the one that is there to this.
    ///
    /// # Errors
    /// Where it is of another kind.
    pub fn apply(&self, object: &Value) -> Result<()> {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str);
        let name = text("/metadata/name").context("an object without a name")?;
        let collection = match (text("/kind"), text("/metadata/namespace")) {
            (Some("Namespace"), _) => "/api/v1/namespaces".to_owned(),
            (Some("ServiceAccount"), Some(namespace)) => {
                self.ensure_namespace(namespace)?;
                format!("/api/v1/namespaces/{namespace}/serviceaccounts")
            }
            (Some("DaemonSet"), Some(namespace)) => {
                self.ensure_namespace(namespace)?;
                format!("/apis/apps/v1/namespaces/{namespace}/daemonsets")
            }
            _ => anyhow::bail!("not applied by the harness: {object}"),
        };
        let reply = self.request("POST", &collection, "application/json", object)?;
        if reply.status == 409 {
            return self.patch(&format!("{collection}/{name}"), object);
        }
        reply.ok().with_context(|| format!("create {name}"))?;
        Ok(())
    }

    /// Changes a pod by a merge patch (RFC 7396).
    pub fn patch_pod(&self, namespace: &str, name: &str, patch: &Value) -> Result<()> {
        self.patch(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), patch)
    }

    /// Changes a pod's status by a merge patch.
    pub fn patch_pod_status(&self, namespace: &str, name: &str, status: &Value) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
        self.patch(&path, &json!({ "status": status }))
    }

    /// Deletes a pod at once, as kubelet does when its containers are gone.
    pub fn delete_pod(&self, namespace: &str, name: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0
        });
        self.request("DELETE", &path, "application/json", &options)?.ok().context(path)?;
        Ok(())
    }

    /// The Events of a namespace, oldest first.
    pub fn events(&self, namespace: &str) -> Result<Vec<Value>> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let reply = self.request("GET", &path, "", &Value::Null)?.ok().context("list Events")?;
        let mut list: Value = serde_json::from_str(&reply)?;
        let mut events: Vec<Value> = serde_json::from_value(list["items"].take())?;
        events.sort_by_key(|event| event["eventTime"].to_string());
        Ok(events)
    }

    /// What the server was asked by others than the harness, oldest first.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        self.server.seen()
    }

    /// Cuts all open watches.
    pub fn cut_watches(&self) -> Result<()> {
        self.server.cut_watches(&self.place)?;
        self.wait_until_ready()
    }

    /// The same, of a server that answers nobody.
    pub fn cut_open_watches(&self) -> Result<()> {
        self.server.cut_watches(&self.place)
    }

    /// Forgets all history, so that whoever resumes a watch is told `410 Gone`, and cuts all watches.
    pub fn forget_history(&self) -> Result<()> {
        self.server.forget_history(&self.place)?;
        self.wait_until_ready()
    }

    /// Answers nobody any more, until [`Kubernetes::recover`].
    pub fn fail(&self) -> Result<()> {
        self.server.fail(&self.place)
    }

    /// Ends what [`Kubernetes::fail`] began.
    pub fn recover(&self) -> Result<()> {
        self.server.recover(&self.place)?;
        self.wait_until_ready()
    }

    /// How watches tell of changes from now on.
    ///
    /// # Errors
    /// With a real API server, which does as it does.
    pub fn tell(&self, telling: &Telling) -> Result<()> {
        self.server.control(&self.place, "PUT", "watches", &serde_json::to_value(telling)?)
    }

    /// How requests are answered from now on, those of the harness too.
    ///
    /// # Errors
    /// With a real API server, which does as it does.
    pub fn behave(&self, behaviour: &Behaviour) -> Result<()> {
        self.server.control(&self.place, "PUT", "behaviour", &serde_json::to_value(behaviour)?)
    }

    /// Whether it can be made to do what a real API server does only by accident.
    #[must_use]
    pub fn is_pretend(&self) -> bool {
        self.server.is_pretend()
    }

    fn patch(&self, path: &str, change: &Value) -> Result<()> {
        let reply = self.request("PATCH", path, "application/merge-patch+json", change)?;
        reply.ok().with_context(|| format!("patch {path}"))?;
        Ok(())
    }

    fn request(&self, method: &str, path: &str, content: &str, body: &Value) -> Result<Reply> {
        let authorization = format!("Bearer {}", server::TOKEN);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", content)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let url = format!("{}{path}", self.server.url());
        curl::request(&self.place, method, &url, &headers, &body)
    }
}

/// A kubeconfig is YAML, of which JSON is a part.
fn kubeconfig_of(url: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "test",
            "cluster": { "server": url, "insecure-skip-tls-verify": true }
        }],
        "users": [{ "name": "test", "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test"
    })
}
