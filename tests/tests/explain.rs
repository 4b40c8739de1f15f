//! `podrole explain`: which role a pod has and why, asked on the pod's node and from elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent;
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::{Cluster, NODE};
use podrole_tests::http::LIST;
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
        ensure!(text.contains("AccessDenied") && text.contains("It may be: (1)"), "{text}");
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

/// Asks as somebody elsewhere does, whose kubectl carries commands to the agent's pod on the node.
fn from_elsewhere(cluster: &Cluster, pod: &str) -> Result<Finished> {
    let tools = cluster.directory().join("tools");
    fs::create_dir_all(&tools)?;
    let kubectl = tools.join("kubectl");
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2 $3 $4 $5\" = 'exec -n podrole podrole-x --' ] || exit 64\nshift 5\nPODROLE_SOCKET={} exec \"$@\"\n",
        cluster.socket().display()
    );
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
    command.args(["explain", pod, "--socket", "/nonexistent"]);
    process::run(&mut command, b"", PATIENCE)
}

#[test]
fn from_elsewhere_the_agent_of_the_pods_node_is_asked() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        let _agent = cluster.agent().start()?;
        web.wait_for_role("web")?;
        let none = from_elsewhere(cluster, "shop/web")?;
        ensure!(
            none.status.code() == Some(1) && none.stderr.contains("--agent-namespace"),
            "{none:?}"
        );
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
        cluster.kubernetes.patch_pod_status("podrole", "podrole-x", &running)?;
        let told = from_elsewhere(cluster, "shop/web")?;
        ensure!(told.status.success(), "{told:?}");
        ensure!(told.text().contains("the agent on node-1"), "{told:?}");
        let unknown = from_elsewhere(cluster, "shop/nobody")?;
        ensure!(
            unknown.status.code() == Some(1) && unknown.stderr.contains("shop/nobody"),
            "{unknown:?}"
        );
        Ok(())
    })
}
