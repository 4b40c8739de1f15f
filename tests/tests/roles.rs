//! Which role a pod has follows what operators and teams write, from the next request on.

use anyhow::Result;
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::pod::{Pod, ROLE_ANNOTATION};
use podrole_tests::pretend::kubernetes::behaviour::{Behaviour, Way};
use podrole_tests::wait;
use serde_json::json;

const PERMITTED: &str = "iam.amazonaws.com/permitted";
const ALLOWED_ROLES: &str = "iam.amazonaws.com/allowed-roles";

fn has_leak(pod: &Pod<'_>) -> Result<bool> {
    Ok(pod.node_credentials()?.is_some())
}

/// Waits until the role list is answered with this status.
fn wait_for_status(pod: &Pod<'_>, status: u16) -> Result<()> {
    let mut last = 0;
    let reached = wait::until_true("the role list", || {
        last = pod.get(LIST)?.status;
        Ok(last == status)
    });
    reached.map_err(|error| error.context(format!("{}: {last}, not {status}", pod.name)))
}

/// What the agent asked the API server for, by the part of the address that names it.
fn asked(cluster: &Cluster, part: &str) -> Result<Vec<String>> {
    let seen = cluster.kubernetes.seen()?.into_iter().map(|seen| seen.target);
    Ok(seen.filter(|target| target.contains(part)).collect())
}

#[test]
fn an_association_is_followed_while_its_pods_ask() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.kubernetes.install_definition()?;
        if !cluster.kubernetes.stores_associations()? {
            return Ok(());
        }
        let cart = cluster.pod("cart").namespace("shop").service_account("cart").start()?;
        let till = cluster.pod("till").namespace("shop").service_account("till").start()?;
        assert!(has_leak(&cart)? && has_leak(&till)?);
        let _agent = cluster.agent().start()?;
        wait_for_status(&cart, 404)?;

        cluster.kubernetes.associate("all", "shop", "*", &role_arn("everybody"))?;
        cart.wait_for_role("everybody")?;
        till.wait_for_role("everybody")?;
        cluster.kubernetes.associate("cart", "shop", "cart", &role_arn("first"))?;
        cart.wait_for_role("first")?;
        assert_eq!(cart.credentials_of("first")?.session()?.role, role_arn("first"));

        let change = json!({
            "roleArn": role_arn("second"), "externalId": "id-1",
            "sessionTags": [{ "key": "team", "value": "shop" }],
        });
        cluster.kubernetes.change_association("cart", &change)?;
        cart.wait_for_role("second")?;
        assert_eq!(cart.get(&format!("{LIST}first"))?.status, 404);
        let session = cart.credentials_of("second")?.session()?;
        assert_eq!(session.tags.get("team").map(String::as_str), Some("shop"));

        let audit = json!({ "mode": "Audit" });
        cluster.kubernetes.change_association("cart", &audit)?;
        wait_for_status(&cart, 404)?;
        cluster.kubernetes.dissociate("cart")?;
        cart.wait_for_role("everybody")?;
        cluster.kubernetes.dissociate("all")?;
        wait_for_status(&cart, 404)?;
        wait_for_status(&till, 404)
    })
}

#[test]
fn the_definition_takes_good_associations_and_refuses_bad_ones() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.kubernetes.install_definition()?;
        if !cluster.kubernetes.stores_associations()? {
            return Ok(());
        }
        let good = json!({
            "namespace": "shop", "serviceAccount": "cart", "roleArn": role_arn("a"),
            "targetRoleArn": role_arn("b"), "externalId": "id-1", "durationSeconds": 900,
            "sessionTags": [{ "key": "team", "value": "" }], "transitiveSessionTags": true,
            "policy": "{}", "mode": "Audit",
        });
        cluster.kubernetes.try_associate("good", &good)?.ok()?;
        for (key, value) in [
            ("roleArn", json!(null)),
            ("roleArn", json!("short")),
            ("namespace", json!("")),
            ("serviceAccount", json!(7)),
            ("durationSeconds", json!(899)),
            ("durationSeconds", json!(43_201)),
            ("mode", json!("Sometimes")),
            ("externalId", json!("x")),
            ("sessionTags", json!([{ "value": "without a key" }])),
            ("policy", json!("x".repeat(2049))),
        ] {
            let mut bad = good.clone();
            bad[key] = value.clone();
            let reply = cluster.kubernetes.try_associate("bad", &bad)?;
            assert_eq!(reply.status, 422, "{key}={value}: {}", reply.body);
        }
        Ok(())
    })
}

#[test]
fn of_two_associations_for_a_pair_the_younger_is_named_in_an_event() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.kubernetes.install_definition()?;
        if !cluster.kubernetes.stores_associations()? {
            return Ok(());
        }
        cluster.kubernetes.associate("a-first", "default", "default", &role_arn("first"))?;
        cluster.kubernetes.associate("b-second", "default", "default", &role_arn("second"))?;
        let pod = cluster.pod("web").start()?;
        assert!(has_leak(&pod)?);
        let mut agent = cluster.agent().start()?;
        pod.wait_for_role("first")?;
        agent.wait_for_log("RoleAssociation b-second is passed over")?;
        cluster.kubernetes.dissociate("a-first")?;
        pod.wait_for_role("second")
    })
}

#[test]
fn a_pod_names_only_roles_that_its_namespace_permits() -> Result<()> {
    Cluster::with(|cluster| {
        let kubernetes = &cluster.kubernetes;
        let pod = cluster.pod("web").namespace("shop").role("web").start()?;
        assert!(has_leak(&pod)?);
        {
            let off = cluster.agent().without("--permitted-roles");
            let _agent = off.add("--namespace-policy", "off").start()?;
            pod.wait_for_role("web")?;
        }
        let _agent = cluster.agent().without("--permitted-roles").start()?;
        wait_for_status(&pod, 403)?;
        assert_eq!(pod.get(&format!("{LIST}web"))?.status, 403);

        kubernetes.annotate_namespace("shop", PERMITTED, Some(".*:role/we"))?;
        wait_for_status(&pod, 403)?;
        kubernetes.annotate_namespace("shop", PERMITTED, Some(".*:role/we[ab]"))?;
        pod.wait_for_role("web")?;
        kubernetes.annotate_namespace("shop", ALLOWED_ROLES, Some(r#"["arn:*/other"]"#))?;
        wait_for_status(&pod, 403)?;
        kubernetes.annotate_namespace("shop", ALLOWED_ROLES, Some(r#"["arn:*/web"]"#))?;
        pod.wait_for_role("web")?;
        kubernetes.annotate_namespace("shop", PERMITTED, Some("("))?;
        wait_for_status(&pod, 403)?;
        kubernetes.annotate_namespace("shop", PERMITTED, None)?;
        pod.wait_for_role("web")?;
        kubernetes.annotate_namespace("shop", ALLOWED_ROLES, Some("web"))?;
        wait_for_status(&pod, 403)
    })
}

#[test]
fn bare_names_and_the_default_role_are_of_the_agents_own_account() -> Result<()> {
    Cluster::with(|cluster| {
        let named = cluster.pod("named").annotation(ROLE_ANNOTATION, "team/web").start()?;
        let plain = cluster.pod("plain").namespace("shop").start()?;
        assert!(has_leak(&named)? && has_leak(&plain)?);
        let agent = cluster.agent().add("--base-role-arn", "auto");
        let _agent = agent.add("--default-role", "pods-of-{namespace}").start()?;
        named.wait_for_role("web")?;
        plain.wait_for_role("pods-of-shop")?;
        let session = plain.credentials_of("pods-of-shop")?.session()?;
        assert_eq!(session.role, "arn:aws:iam::111122223333:role/pods-of-shop");
        Ok(())
    })
}

#[test]
fn labels_of_namespaces_become_session_tags() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").namespace("shop").role("web").start()?;
        assert!(has_leak(&pod)?);
        cluster.kubernetes.label_namespace("shop", "stage", Some("prod"))?;
        let flag = "--session-tag-namespace-label";
        let _agent = cluster.agent().add(flag, "stage=Stage").start()?;
        pod.wait_for_role("web")?;
        let tag = || -> Result<Option<String>> {
            Ok(pod.credentials_of("web")?.session()?.tags.get("Stage").cloned())
        };
        assert_eq!(tag()?.as_deref(), Some("prod"));
        cluster.kubernetes.label_namespace("shop", "stage", Some("test"))?;
        wait::until_true("the new tag", || Ok(tag()?.as_deref() == Some("test")))
    })
}

#[test]
fn only_what_this_nodes_pods_need_is_asked_for() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.kubernetes.install_definition()?;
        cluster.pod("far").namespace("far").service_account("far").elsewhere("node-2")?;
        let pods = [
            cluster.pod("one").namespace("shop").role("one").start()?,
            cluster.pod("two").namespace("shop").role("two").start()?,
        ];
        assert!(has_leak(&pods[0])?);
        let _agent = cluster.agent().start()?;
        pods[0].wait_for_role("one")?;
        pods[1].wait_for_role("two")?;
        let namespaces = asked(cluster, "/api/v1/namespaces?")?;
        let lists =
            |asked: &[String]| asked.iter().filter(|target| !target.contains("watch=true")).count();
        assert_eq!(lists(&namespaces), 1, "{namespaces:?}");
        let by_name = |target: &String| target.contains("metadata.name%3Dshop");
        assert!(namespaces.iter().all(by_name), "{namespaces:?}");
        assert_eq!(asked(cluster, "serviceaccounts")?, Vec::<String>::new());
        assert_eq!(asked(cluster, "far")?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn namespaces_that_cannot_be_told_leave_their_pods_waiting() -> Result<()> {
    Cluster::with(|cluster| {
        if !cluster.kubernetes.is_pretend() {
            return Ok(());
        }
        let pod = cluster.pod("web").role("web").start()?;
        assert!(has_leak(&pod)?);
        let forbidden = Behaviour {
            answer: Way::Forbidden,
            resource: Some("namespaces".into()),
            ..Behaviour::default()
        };
        cluster.kubernetes.behave(&forbidden)?;
        let mut agent = cluster.agent().start()?;
        agent.wait_for_log("podrole may not list and watch Namespaces")?;
        wait_for_status(&pod, 503)?;
        cluster.kubernetes.behave(&Behaviour::default())?;
        pod.wait_for_role("web")
    })
}

#[test]
fn without_the_definition_the_other_rules_work() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(has_leak(&pod)?);
        let mut agent = cluster.agent().start()?;
        agent.wait_for_log("RoleAssociations are not installed in this cluster")?;
        pod.wait_for_role("web")
    })
}
