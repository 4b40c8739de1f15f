//! Sessions as a RoleAssociation shapes them: role chaining, external ids, tags; and roles that take no
//! tags while a cluster migrates.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use podrole_tests::agent::CLUSTER_NAME;
use podrole_tests::aws::role_arn;
use podrole_tests::clients::BOTO3;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::sts::asked::Asked;
use podrole_tests::{curl, openmetrics, wait};
use serde_json::{Value, json};

const METRICS: &str = "http://10.0.0.10:16926/metrics";

/// The one call of AssumeRole for a role.
fn call(cluster: &Cluster, role: &str) -> Result<Asked> {
    let mut calls = cluster.sts.asked_for(role)?;
    assert_eq!(calls.len(), 1, "{role}");
    calls.pop().context("there is one")
}

fn keys(asked: &Asked) -> BTreeSet<&str> {
    asked.tags.iter().map(|tag| tag.key.as_str()).collect()
}

/// A pod of the ServiceAccount `cart` whose association has the role `first`, the target `target` and
/// what is given.
fn with_chain(settings: &Value, test: impl FnOnce(&Cluster, &Pod<'_>) -> Result<()>) -> Result<()> {
    Cluster::with(|cluster| {
        cluster.kubernetes.install_definition()?;
        cluster.kubernetes.associate("cart", "shop", "cart", &role_arn("first"))?;
        let mut change = json!({ "targetRoleArn": role_arn("target") });
        let further = settings.as_object().cloned().unwrap_or_default();
        change.as_object_mut().context("an object")?.extend(further);
        cluster.kubernetes.change_association("cart", &change)?;
        let pod = cluster.pod("web").namespace("shop").service_account("cart").start()?;
        assert!(pod.node_credentials()?.is_some());
        let _agent = cluster.agent().start()?;
        pod.wait_for_role("target")?;
        test(cluster, &pod)
    })
}

#[test]
fn a_target_role_is_assumed_with_the_first_session_and_has_the_pods_tags() -> Result<()> {
    let team = json!([{ "key": "team", "value": "shop" }]);
    let settings = json!({ "externalId": "of-the-target", "sessionTags": team });
    with_chain(&settings, |cluster, pod| {
        let found = pod.credentials_by(&BOTO3)?.context("no credentials")?;
        let session = found.session()?;
        assert_eq!(session.role, role_arn("target"));
        assert_eq!(session.session, "shop@web");
        assert_eq!(session.tags["kubernetes-namespace"], "shop");
        assert_eq!(session.tags["eks-cluster-name"], CLUSTER_NAME);
        assert_eq!(session.tags["team"], "shop");
        assert_eq!(session.duration, 3600);
        let (first, second) = (call(cluster, "first")?, call(cluster, "target")?);
        assert_eq!(
            (first.external_id, second.external_id.as_deref()),
            (None, Some("of-the-target"))
        );
        let callers = cluster.sts.requests()?.into_iter().filter_map(|request| request.line.caller);
        let own = "arn:aws:sts::444455556666:assumed-role/first/shop@web";
        assert!(callers.into_iter().any(|caller| caller == own), "the first session signs");
        Ok(())
    })
}

#[test]
fn transitive_tags_are_sent_once_and_inherited() -> Result<()> {
    with_chain(&json!({ "transitiveSessionTags": true }), |cluster, pod| {
        let session = pod.credentials_of("target")?.session()?;
        assert_eq!(session.tags.len(), 6);
        assert_eq!(session.transitive.len(), 6);
        let (first, second) = (call(cluster, "first")?, call(cluster, "target")?);
        assert_eq!((first.tags.len(), first.transitive.len()), (6, 6));
        assert_eq!((second.tags.len(), second.transitive.len()), (0, 0));
        Ok(())
    })
}

#[test]
fn a_chain_without_tags_has_the_external_id_of_pod_identity() -> Result<()> {
    with_chain(&json!({ "disableSessionTags": true }), |cluster, pod| {
        let session = pod.credentials_of("target")?.session()?;
        assert_eq!(session.tags.len(), 0);
        let second = call(cluster, "target")?;
        assert_eq!(second.external_id.as_deref(), Some("us-west-2/111122223333/prod/shop/cart"));
        assert_eq!(call(cluster, "first")?.external_id, None);
        Ok(())
    })
}

#[test]
fn a_role_that_takes_no_tags_is_assumed_without_them_only_where_that_is_wanted() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").namespace("shop").role("untaggable").start()?;
        assert!(pod.node_credentials()?.is_some());
        let agent = cluster.agent().start()?;
        assert_eq!(pod.get(&format!("{LIST}untaggable"))?.status, 403);
        agent.kill()?;

        let agent = cluster.agent().set("--session-tags", "pod,untagged-fallback");
        let mut agent = agent.start()?;
        wait::until_true("credentials", || {
            Ok(pod.get(&format!("{LIST}untaggable"))?.status == 200)
        })?;
        let session = pod.credentials_of("untaggable")?.session()?;
        assert_eq!(session.tags.len(), 0);
        agent.wait_for_log("refuses this role with session tags")?;
        let calls = cluster.sts.asked_for("untaggable")?;
        assert!(keys(&calls[0]).contains("kubernetes-namespace"));
        assert!(calls.last().is_some_and(|call| call.tags.is_empty()));
        let metrics = curl::request(&cluster.node_place(), "GET", METRICS, &[], "")?.ok()?;
        let samples = openmetrics::read(&metrics)?;
        assert!(samples["podrole_untagged_sessions_total"] >= 1);
        Ok(())
    })
}
