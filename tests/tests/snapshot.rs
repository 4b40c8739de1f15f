//! Who is who survives the agent, whatever becomes of the API server; but no pod that is gone does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{LIST, Request, TOKEN_HEADER};
use podrole_tests::pod::Pod;
use podrole_tests::pretend::kubernetes::behaviour::{Behaviour, Way};
use podrole_tests::wait;
use serde_json::json;

const PERMITTED: &str = "iam.amazonaws.com/permitted";
const LISTING: &str = "/latest/meta-data/";

/// Waits until the file of the state directory tells of these pods and no others.
fn until_written(cluster: &Cluster, pods: &[&Pod<'_>]) -> Result<()> {
    let path = cluster.directory().join("state/pods.json");
    wait::until_true("the snapshot", || {
        let Ok(text) = fs::read(&path) else { return Ok(false) };
        let content: serde_json::Value = serde_json::from_slice(&text)?;
        let written = content["pods"].as_array().context("a list of pods")?;
        let has = |pod: &&Pod<'_>| written.iter().any(|saved| saved["uid"] == pod.uid.as_str());
        Ok(written.len() == pods.len() && pods.iter().all(has))
    })
}

/// 200 where it is known who asks, whatever else is not: with a token, so that it does not matter what
/// its Namespace says of requests without.
fn status(pod: &Pod<'_>) -> Result<u16> {
    let token = pod.token()?;
    Ok(pod.ask(&Request::get(LISTING).header(TOKEN_HEADER, &token))?.status)
}

fn until_known(pod: &Pod<'_>) -> Result<()> {
    wait::until_true(&format!("{} to be known", pod.name), || {
        Ok(status(pod).is_ok_and(|status| status == 200))
    })
}

#[test]
fn known_pods_are_known_after_a_restart_without_the_api_server() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let job = cluster.pod("job").role("job").start()?;
        let agent = cluster.agent().start()?;
        web.wait_for_role("web")?;
        until_written(cluster, &[&web, &job])?;

        cluster.kubernetes.fail()?;
        agent.kill()?;
        drop(job);
        let mut agent = cluster.agent().spawn()?;
        until_known(&web)?;
        agent.wait_for_log("known=2 there=1")?;

        cluster.kubernetes.recover()?;
        web.wait_for_role("web")
    })
}

/// Waits until what roles depend on is written, with this in it.
fn until_remembered(cluster: &Cluster, text: &str) -> Result<()> {
    let path = cluster.directory().join("state/roles.json");
    wait::until_true(&format!("{text} in what roles depend on"), || {
        Ok(fs::read_to_string(&path).is_ok_and(|written| written.contains(text)))
    })
}

/// A pod of each kind whose role depends on more than the pod, and one whose Namespace permits nothing.
fn depending(cluster: &Cluster) -> Result<[Pod<'_>; 3]> {
    let permits =
        |role: &str| json!({ "metadata": { "annotations": { PERMITTED: role_arn(role) } } });
    cluster.kubernetes.patch_namespace("shop", &permits("web"))?;
    cluster.kubernetes.patch_namespace("closed", &permits("other"))?;
    cluster.kubernetes.install_definition()?;
    cluster.kubernetes.associate("till", "shop", "till", &role_arn("till"))?;
    Ok([
        cluster.pod("web").namespace("shop").role("web").start()?,
        cluster.pod("till").namespace("shop").service_account("till").start()?,
        cluster.pod("shut").namespace("closed").role("web").start()?,
    ])
}

#[test]
fn pods_have_their_roles_after_a_restart_without_the_api_server() -> Result<()> {
    for silent in [false, true] {
        Cluster::with(|cluster| {
            if !cluster.kubernetes.is_pretend() {
                return Ok(());
            }
            let [web, till, shut] = depending(cluster)?;
            let strict = || cluster.agent().without("--permitted-roles");
            let agent = strict().start()?;
            web.wait_for_role("web")?;
            till.wait_for_role("till")?;
            assert_eq!(shut.get(LIST)?.status, 403);
            until_written(cluster, &[&web, &till, &shut])?;
            until_remembered(cluster, "till")?;
            agent.kill()?;

            let answer = if silent { Way::Silent } else { Way::Reset };
            cluster.kubernetes.behave(&Behaviour { answer, ..Behaviour::default() })?;
            let agent = strict().spawn()?;
            until_known(&web)?;
            web.wait_for_role("web")?;
            till.wait_for_role("till")?;
            assert_eq!(web.credentials_of("web")?.session()?.role, role_arn("web"));
            assert_eq!(till.credentials_of("till")?.session()?.role, role_arn("till"));
            assert_eq!(shut.get(LIST)?.status, 403, "what was refused is refused");
            agent.kill()?;

            // Without the file nobody has a role that it would have been needed for.
            let path = cluster.directory().join("state/roles.json");
            assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o7777, 0o600);
            fs::write(&path, b"{}")?;
            let mut agent = strict().spawn()?;
            agent.wait_for_log("what roles depended on before is not used")?;
            until_known(&web)?;
            for pod in [&web, &till, &shut] {
                assert_eq!(pod.get(LIST)?.status, 503, "{}", pod.name);
            }

            if silent {
                // What is asked of it now is given up after a minute, and asked again.
                return Ok(());
            }
            // What changed while it was away goes from the moment that it is back.
            cluster.kubernetes.behave(&Behaviour::default())?;
            cluster
                .kubernetes
                .change_association("till", &json!({ "roleArn": role_arn("new") }))?;
            web.wait_for_role("web")?;
            till.wait_for_role("new")
        })?;
    }
    Ok(())
}

#[test]
fn what_is_remembered_is_not_asked_while_the_api_server_answers() -> Result<()> {
    Cluster::with(|cluster| {
        if !cluster.kubernetes.is_pretend() {
            return Ok(());
        }
        let [web, till, _shut] = depending(cluster)?;
        let strict = || cluster.agent().without("--permitted-roles");
        let agent = strict().start()?;
        web.wait_for_role("web")?;
        till.wait_for_role("till")?;
        until_remembered(cluster, "till")?;
        agent.kill()?;

        cluster.kubernetes.change_association("till", &json!({ "roleArn": role_arn("new") }))?;
        let closed = json!({ "metadata": { "annotations": { PERMITTED: role_arn("none") } } });
        cluster.kubernetes.patch_namespace("shop", &closed)?;
        let _agent = strict().spawn()?;
        wait::until_true("an answer", || Ok(till.get(LIST).is_ok_and(|it| it.status == 200)))?;
        assert_eq!(till.listed_role()?.as_deref(), Some("new"));
        wait::until_true("a refusal", || {
            let status = web.get(LIST)?.status;
            assert_ne!(status, 200, "the role of yesterday");
            Ok(status == 403)
        })
    })
}

#[test]
fn a_malformed_snapshot_is_told_of_and_not_used() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let agent = cluster.agent().start()?;
        until_written(cluster, &[&web])?;
        agent.kill()?;
        let path = cluster.directory().join("state/pods.json");
        fs::write(&path, b"{\"version\":1,\"node\":\"node-1\",\"pods\":[{}]}")?;
        cluster.kubernetes.fail()?;
        let mut agent = cluster.agent().spawn()?;
        agent.wait_for_log("the snapshot of this node's pods is not used")?;
        wait::until_true("an answer", || Ok(status(&web).is_ok()))?;
        assert_eq!(status(&web)?, 503);
        cluster.kubernetes.recover()?;
        web.wait_for_role("web")
    })
}
