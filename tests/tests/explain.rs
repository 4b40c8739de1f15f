//! `podrole explain`: which role a pod has and why, asked on the pod's node and from elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent;
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::{Cluster, NODE};
use podrole_tests::http::LIST;
use podrole_tests::kubernetes::Behaviour;
use podrole_tests::process::{self, Finished};
use podrole_tests::wait::PATIENCE;
use serde_json::{Value, json};

#[test]
fn on_the_node_it_shows_the_role_its_reason_and_the_session() -> Result<()> {
    Cluster::with(|cluster| {
        let web =
            cluster.pod("web").namespace("shop").service_account("cart").role("web").start()?;
        let _agent = cluster.agent().start()?;
        web.wait_for_role("web")?;
        let told = cluster.ask(&["explain", "shop/web", "--output", "json"])?;
        let told: Value = serde_json::from_str(&told.ok()?)?;
        ensure!(told["toldBy"] == "the agent on node-1", "{told}");
        ensure!(told["verdict"] == "granted", "{told}");
        ensure!(told["request"]["role"] == role_arn("web").as_str(), "{told}");
        ensure!(told["session"]["state"] == "held", "{told}");
        ensure!(told["session"]["accessKeyId"].is_string(), "{told}");
        // The agent asked STS who it is itself.
        let policy = &told["trustPolicies"][0]["policy"]["Statement"][0];
        let principal = policy["Principal"]["AWS"].as_str().context("no principal")?;
        ensure!(principal.contains("NodeInstanceRole") && principal.contains(":role/"), "{told}");
        let text = cluster.ask(&["explain", "shop/web"])?.ok()?;
        ensure!(text.starts_with("Pod shop/web: has arn:aws:iam::"), "{text}");
        ensure!(text.contains("Session name  shop@web") && text.contains("held until"), "{text}");
        Ok(())
    })
}

#[test]
fn a_refusal_is_explained_and_fails() -> Result<()> {
    Cluster::with(|cluster| {
        let denied = cluster.pod("denied").role("denied").start()?;
        let _bad = cluster.pod("bad").annotation("iam.amazonaws.com/role", "not a role").start()?;
        let _plain = cluster.pod("plain").start()?;
        let _agent = cluster.agent().start()?;
        ensure!(denied.get(&format!("{LIST}denied"))?.status == 403);
        let told = cluster.ask(&["explain", "default/denied"])?;
        ensure!(told.status.code() == Some(1), "{told:?}");
        let text = told.text();
        ensure!(text.contains("AccessDenied") && text.contains("It may be:\n(1) "), "{text}");
        let told = cluster.ask(&["explain", "default/bad"])?;
        ensure!(told.status.code() == Some(1) && told.text().contains("is refused a role"));
        let told = cluster.ask(&["explain", "default/plain"])?;
        ensure!(told.status.success() && told.text().contains("nothing maps it"), "{told:?}");
        for wrong in ["plain", "a/b/c", "/x", "Shop/web"] {
            ensure!(cluster.ask(&["explain", wrong])?.status.code() == Some(2), "{wrong}");
        }
        Ok(())
    })
}

/// Whose kubectl carries commands to the agent's pod on the node.
const CARRIES: &str =
    "[ \"$1 $2 $3 $4 $5\" = 'exec -n podrole podrole-x --' ] || exit 64; shift 5; exec \"$@\"";
/// Who has no right to exec.
const REFUSED: &str = "echo 'Error from server (Forbidden): pods \"podrole-x\" is forbidden: User \"dev\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"podrole\"' >&2; exit 1";

/// Asks as somebody elsewhere does, with this for a kubectl.
fn from_elsewhere(cluster: &Cluster, kubectl: &str, pod: &str) -> Result<Finished> {
    let tools = cluster.directory().join("tools");
    fs::create_dir_all(&tools)?;
    let script =
        format!("#!/bin/sh\nexport PODROLE_SOCKET={}\n{kubectl}\n", cluster.socket().display());
    let kubectl = tools.join("kubectl");
    fs::write(&kubectl, script)?;
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755))?;
    let plugin = tools.join("kubectl-podrole");
    for name in [&plugin, &tools.join("podrole")] {
        if !name.exists() {
            symlink(agent::binary()?, name)?;
        }
    }
    let mut command = cluster.node_place().command(&plugin)?;
    command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    command.env("KUBECONFIG", cluster.kubernetes.kubeconfig());
    // The settings of whoever asks are not the agents'.
    command.env("PODROLE_SESSION_TAGS", "none");
    command.args(["explain", pod, "--socket", "/nonexistent"]);
    process::run(&mut command, b"", PATIENCE)
}

/// The agent's pod on the node.
fn create_agent_pod(cluster: &Cluster) -> Result<()> {
    cluster.kubernetes.ensure_namespace("podrole")?;
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "podrole-x", "labels": { "app.kubernetes.io/name": "podrole" } },
        "spec": {
            "nodeName": NODE,
            "containers": [{ "name": "agent", "image": "example.org/podrole:1" }]
        }
    });
    cluster.kubernetes.create_pod("podrole", &object)?;
    let running = json!({ "phase": "Running" });
    cluster.kubernetes.patch_pod_status("podrole", "podrole-x", &running)
}

/// The agents, whose containers have these variables.
fn daemon_set(environment: &Value) -> Value {
    let labels = json!({ "app.kubernetes.io/name": "podrole" });
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "podrole", "namespace": "podrole", "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [
                    { "name": "other", "image": "example.org/other:1" },
                    {
                        "name": "podrole",
                        "image": "example.org/podrole:1",
                        "args": ["agent", "--node-name=$(NODE_NAME)", "--cluster-name", "prod"],
                        "env": environment
                    }
                ] }
            }
        }
    })
}

#[test]
fn who_may_not_exec_is_told_by_the_agents_settings() -> Result<()> {
    Cluster::with(|cluster| {
        let kubernetes = &cluster.kubernetes;
        let _web = cluster
            .pod("web")
            .namespace("shop")
            .annotation("iam.amazonaws.com/role", &role_arn("web"))
            .start()?;
        let _bare = cluster.pod("bare").annotation("iam.amazonaws.com/role", "bare").start()?;
        create_agent_pod(cluster)?;
        let untold = from_elsewhere(cluster, REFUSED, "shop/web")?;
        ensure!(
            untold.status.code() == Some(1)
                && untold.stderr.contains("not allowed, and no DaemonSet"),
            "{untold:?}"
        );
        let node = json!({ "fieldRef": { "fieldPath": "spec.nodeName" } });
        let elsewhere = json!({ "configMapKeyRef": { "name": "aws", "key": "cluster" } });
        let mut environment = vec![
            json!({ "name": "NODE_NAME", "valueFrom": node }),
            json!({ "name": "PODROLE_BASE_ROLE_ARN", "value": "auto" }),
            json!({ "name": "PODROLE_CLUSTER_ARN", "valueFrom": elsewhere }),
        ];
        kubernetes.apply(&daemon_set(&json!(environment)))?;
        let refused = from_elsewhere(cluster, REFUSED, "shop/web")?;
        ensure!(refused.status.code() == Some(1), "{refused:?}");
        ensure!(refused.text().contains("is refused a role"), "{refused:?}");
        environment.push(json!({ "name": "PODROLE_NAMESPACE_POLICY", "value": "off" }));
        kubernetes.apply(&daemon_set(&json!(environment)))?;
        let told = from_elsewhere(cluster, REFUSED, "shop/web")?;
        ensure!(told.status.success(), "{told:?}");
        let text = told.text();
        for part in [
            "the settings of DaemonSet podrole/podrole: exec in its pods is not allowed",
            "the state of the pod's credentials",
            "PODROLE_CLUSTER_ARN comes from another object",
            "--base-role-arn=auto: the account",
            "gives arn:aws:iam::",
            "kubernetes-pod-name=web",
            "eks-cluster-name=prod",
            "arn:aws:iam::ACCOUNT:role/NODE-ROLE",
        ] {
            ensure!(text.contains(part), "{part}: {text}");
        }
        // The account that a bare name is of is known to the agent alone.
        let undecided = from_elsewhere(cluster, REFUSED, "default/bare")?;
        ensure!(undecided.text().contains("cannot be decided"), "{undecided:?}");
        if kubernetes.is_pretend() {
            let denied = Some("create pods/exec".to_owned());
            kubernetes.behave(&Behaviour { denied, ..Behaviour::default() })?;
            let told = from_elsewhere(cluster, "exit 64", "shop/web")?;
            ensure!(told.status.success() && told.text() == text, "{told:?}");
        }
        Ok(())
    })
}

#[test]
fn from_elsewhere_the_agent_of_the_pods_node_is_asked() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        let _agent = cluster.agent().start()?;
        web.wait_for_role("web")?;
        let none = from_elsewhere(cluster, CARRIES, "shop/web")?;
        ensure!(
            none.status.code() == Some(1) && none.stderr.contains("--agent-namespace"),
            "{none:?}"
        );
        create_agent_pod(cluster)?;
        let told = from_elsewhere(cluster, CARRIES, "shop/web")?;
        ensure!(told.status.success(), "{told:?}");
        ensure!(told.text().contains("the agent on node-1"), "{told:?}");
        let unknown = from_elsewhere(cluster, CARRIES, "shop/nobody")?;
        ensure!(
            unknown.status.code() == Some(1) && unknown.stderr.contains("shop/nobody"),
            "{unknown:?}"
        );
        Ok(())
    })
}
