//! `podrole explain`: which role a pod has and why, asked on the pod's node.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use serde_json::Value;

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
