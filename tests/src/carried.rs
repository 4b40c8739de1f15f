//! Commands from elsewhere: somebody with a kubeconfig and kubectl, whose `kubectl exec` is carried to the
//! node.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::agent;
use crate::cluster::{Cluster, NODE};
use crate::process::{self, Finished};
use crate::wait::PATIENCE;

/// The name of the agent's pod.
const AGENT: &str = "podrole-x";

impl Cluster {
    /// Tells the API server of the agent's pod on the node.
    pub fn announce_agent(&self) -> Result<()> {
        self.kubernetes.ensure_namespace("podrole")?;
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": AGENT, "labels": { "app.kubernetes.io/name": "podrole" } },
            "spec": {
                "nodeName": NODE,
                "containers": [{ "name": "agent", "image": "example.org/podrole:1" }]
            }
        });
        self.kubernetes.create_pod("podrole", &object)?;
        let running = json!({ "phase": "Running" });
        self.kubernetes.patch_pod_status("podrole", AGENT, &running)
    }

    /// Runs `podrole` with these words as somebody elsewhere does.
    pub fn from_elsewhere(&self, words: &[&str]) -> Result<Finished> {
        let tools = self.directory().join("tools");
        fs::create_dir_all(&tools)?;
        let (kubectl, podrole) = (tools.join("kubectl"), tools.join("podrole"));
        let script = format!(
            "#!/bin/sh\nexport PODROLE_SOCKET={}\n[ \"$1 $2 $3 $4 $5\" = 'exec -n podrole {AGENT} --' ] || exit 64\nshift 5\nexec \"$@\"\n",
            self.socket().display()
        );
        fs::write(&kubectl, script)?;
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755))?;
        if !podrole.exists() {
            symlink(agent::binary()?, &podrole)?;
        }
        let mut command = self.node_place().command(&podrole)?;
        command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
        command.env("KUBECONFIG", self.kubernetes.kubeconfig());
        process::run(command.args(words), b"", PATIENCE)
    }

    /// Carries out a line that operators type: `kubectl label`, of one Namespace or of all Nodes.
    pub fn kubectl(&self, line: &str) -> Result<()> {
        let words: Vec<&str> =
            line.split_whitespace().filter(|word| *word != "--overwrite").collect();
        let (what, name, label) = match words.as_slice() {
            ["kubectl", "label", what, name, label] => (*what, *name, *label),
            _ => bail!("not understood: {line}"),
        };
        let (key, value) = match label.strip_suffix('-') {
            Some(key) => (key, None),
            None => {
                label.split_once('=').map(|(key, value)| (key, Some(value))).context("no label")?
            }
        };
        match (what, name) {
            ("namespace", name) => {
                let patch = json!({ "metadata": { "labels": { key: value } } });
                self.kubernetes.patch_namespace(name, &patch)
            }
            ("node", "--all") => self.kubernetes.label_node(NODE, key, value),
            _ => bail!("not understood: {line}"),
        }
    }
}
