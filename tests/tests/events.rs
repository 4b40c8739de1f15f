//! What operators are told of: Events on the pods concerned, and audit lines.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::pretend::node;
use podrole_tests::wait;
use serde_json::Value;

const ROLE: &str = "iam.amazonaws.com/role";

/// Waits for the first Event on a pod of `namespace`.
fn event(cluster: &Cluster, namespace: &str, pod: &str) -> Result<Value> {
    wait::until(&format!("an Event on {pod}"), wait::PATIENCE, || {
        let events = cluster.kubernetes.events(namespace)?;
        Ok(events.into_iter().find(|event| event["regarding"]["name"] == pod))
    })
}

#[test]
fn a_refused_role_shows_as_one_event_on_the_pod() -> Result<()> {
    Cluster::with(|cluster| {
        let bad = cluster.pod("bad").namespace("shop").annotation(ROLE, "not a role").start()?;
        let plain = cluster.pod("plain").namespace("shop").start()?;
        let last = cluster.pod("last").namespace("shop").annotation(ROLE, "").start()?;
        let _agent = cluster.agent().start()?;
        for _ in 0..5 {
            bad.get(LIST)?;
            plain.get(LIST)?;
        }
        last.get(LIST)?;
        event(cluster, "shop", "last")?;
        let found = event(cluster, "shop", "bad")?;
        ensure!(found["reason"] == "RoleRefused" && found["type"] == "Warning", "{found}");
        ensure!(found["regarding"]["uid"] == bad.uid.as_str(), "{found}");
        ensure!(found["note"].as_str().is_some_and(|note| note.contains("not a role")), "{found}");
        let all = cluster.kubernetes.events("shop")?;
        ensure!(all.len() == 2, "one for each refused pod, none for the plain one: {all:#?}");
        Ok(())
    })
}

#[test]
fn a_failed_assume_role_shows_on_the_pod_with_what_to_do() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").namespace("shop").role("denied").start()?;
        let _agent = cluster.agent().start()?;
        let answer = pod.get(&format!("{LIST}denied"))?;
        ensure!(answer.status == 403 && answer.body.contains("trust policy"), "{answer:?}");
        // The node's identity is for operators alone.
        ensure!(!answer.body.contains(node::ROLE), "{answer:?}");
        let found = event(cluster, "shop", "web")?;
        ensure!(found["reason"] == "AssumeRoleFailed", "{found}");
        let note = found["note"].as_str().context("no note")?;
        ensure!(note.contains(node::ROLE) && note.contains("trust policy"), "{note}");
        Ok(())
    })
}

#[test]
fn a_refused_prefetch_shows_on_the_pod_that_has_not_asked() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("denied").start()?;
        let quiet = cluster.pod("quiet").namespace("shop").start()?;
        let default = role_arn("denied-by-default");
        let _agent = cluster.agent().set("--default-role", &default).start()?;
        let found = event(cluster, "shop", "web")?;
        ensure!(found["reason"] == "AssumeRoleFailed", "{found}");
        ensure!(found["regarding"]["uid"] == web.uid.as_str(), "{found}");
        let note = found["note"].as_str().context("no note")?;
        ensure!(note.contains("trust policy"), "{note}");
        // Both answers of the same refusal, the pod's own too, are one Event.
        ensure!(web.get(&format!("{LIST}denied"))?.status == 403);
        quiet.get(LIST)?;
        let late = cluster.pod("late").namespace("shop").annotation(ROLE, "").start()?;
        event(cluster, "shop", &late.name)?;
        let all = cluster.kubernetes.events("shop")?;
        ensure!(all.len() == 2, "none for the pod that nothing maps: {all:#?}");
        Ok(())
    })
}

#[test]
fn events_that_cannot_be_written_harm_nothing() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let bad = cluster.pod("bad").annotation(ROLE, "not a role").start()?;
        let mut agent = cluster.agent().start()?;
        cluster.kubernetes.fail()?;
        bad.annotate(ROLE, Some("worse")).ok();
        for _ in 0..3 {
            ensure!(bad.get(LIST)?.status == 403);
        }
        web.wait_for_role("web")?;
        cluster.kubernetes.recover()?;
        agent.wait_until_ready()
    })
}

/// The audit lines of an agent, as JSON.
fn audit(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "podrole::audit").collect()
}

#[test]
fn each_issue_and_each_refusal_is_an_audit_line_without_secrets() -> Result<()> {
    Cluster::with(|cluster| {
        let web =
            cluster.pod("web").namespace("shop").service_account("cart").role("web").start()?;
        let denied = cluster.pod("denied").role("denied").start()?;
        let bad = cluster.pod("bad").annotation(ROLE, "not a role").start()?;
        let plain = cluster.pod("plain").start()?;
        let mut agent = cluster.agent().set("--log-format", "json").start()?;
        plain.get(LIST)?;
        let given = web.credentials_of("web")?;
        denied.get(&format!("{LIST}denied"))?;
        bad.get(LIST)?;
        agent.wait_for_log("\"code\":\"RoleRefused\"")?;
        let log = agent.log()?;
        for secret in [&given.secret_access_key, &given.token] {
            ensure!(!log.contains(secret.as_str()), "a secret is in the log");
        }
        let lines = audit(&log);
        ensure!(lines.len() == 3, "{lines:#?}");
        let issued = lines.iter().find(|line| line["message"] == "credentials issued");
        let issued = issued.context("no issue")?;
        for (field, value) in [
            ("namespace", "shop"),
            ("pod", "web"),
            ("uid", web.uid.as_str()),
            ("service_account", "cart"),
            ("rule", "pod annotation"),
            ("role", &role_arn("web")),
            ("session", "shop@web"),
            ("access_key_id", &given.access_key_id),
        ] {
            ensure!(issued[field] == value, "{field}: {issued}");
        }
        ensure!(issued["expires"].is_string(), "{issued}");
        let refused = lines.iter().find(|line| line["code"] == "AccessDenied");
        ensure!(refused.context("no refusal by STS")?["role"] == role_arn("denied").as_str());
        Ok(())
    })
}
