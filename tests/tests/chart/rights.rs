//! The agent has the rights that it uses, and no others.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::chart::{self, LEAST};
use podrole_tests::cluster::{Cluster, NODE};
use podrole_tests::http::LIST;
use podrole_tests::kubernetes::Seen;
use podrole_tests::pod::token::IRSA;
use podrole_tests::wait;
use serde_json::{Value, json};

use crate::rendered::environment;

const TAINT: &str = "podrole.dev/not-ready";

/// A verb and what it is for: `watch pods`, `create events.events.k8s.io`.
type Rights = BTreeSet<String>;

fn right(verb: &str, resource: &str, group: &str) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    format!("{verb} {resource}{dot}{group}")
}

/// What a request takes; none where everybody may ask.
fn taken(seen: &Seen) -> Option<String> {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let (group, mut rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    if let ["namespaces", _, inner @ ..] = rest
        && !inner.is_empty()
    {
        rest = inner;
    }
    let (resource, named) = match rest {
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, subresource] => (format!("{resource}/{subresource}"), true),
        _ => return None,
    };
    let verb = match seen.method.as_str() {
        "GET" if query.contains("watch=true") => "watch",
        "GET" if named => "get",
        "GET" => "list",
        "POST" => "create",
        "PATCH" => "patch",
        "PUT" => "update",
        _ => "delete",
    };
    Some(right(verb, &resource, group))
}

/// The chart that acts, with these settings.
fn rendered(settings: &str) -> Result<Vec<Value>> {
    let settings = format!("--set=mode=enforce,{settings}");
    chart::objects(&chart::template(&[LEAST, &settings])?)
}

/// What the chart's `ClusterRole`s give.
fn given(objects: &[Value]) -> Result<Rights> {
    let mut rights = Rights::new();
    let words = |value: &Value| {
        let words = value.as_array().into_iter().flatten();
        words.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    for object in objects {
        let rules = object["rules"].as_array().filter(|_| object["kind"] == "ClusterRole");
        for rule in rules.into_iter().flatten() {
            ensure!(rule["nonResourceURLs"].is_null() && rule["resourceNames"].is_null(), "{rule}");
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    let verbs = words(&rule["verbs"]);
                    rights.extend(verbs.iter().map(|verb| right(verb, &resource, &group)));
                }
            }
        }
    }
    ensure!(!rights.iter().any(|right| right.contains('*')), "{rights:?}");
    Ok(rights)
}

/// Waits until the agent has used all rights, and finds no others used.
fn all_are_used(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let given = given(objects)?;
    let used =
        || -> Result<Rights> { Ok(cluster.kubernetes.seen()?.iter().filter_map(taken).collect()) };
    let waited = wait::until_true("every right to be used", || Ok(given.is_subset(&used()?)));
    let used = used()?;
    waited.with_context(|| format!("not used: {:?}", given.difference(&used)))?;
    let beyond: Vec<_> = used.difference(&given).collect();
    ensure!(beyond.is_empty(), "used and not given: {beyond:?}");
    Ok(())
}

/// An agent as the chart starts it, and pods that need all that roles can depend on, one of which is
/// refused.
fn with_pods(settings: &str) -> Result<()> {
    let objects = rendered(settings)?;
    Cluster::with(|cluster| {
        cluster.kubernetes.install_definition()?;
        let annotation = [("eks.amazonaws.com/role-arn", &*role_arn("irsa"))];
        cluster.kubernetes.ensure_service_account("shop", "cart", &annotation)?;
        let refused = cluster.pod("refused").namespace("shop").role("denied").start()?;
        let cart = cluster.pod("cart").namespace("shop").service_account("cart");
        let requests = settings.contains("serviceAccountTokens=request");
        let cart = if requests { cart } else { cart.token(IRSA) }.start()?;
        let taints = json!([{ "key": TAINT, "effect": "NoSchedule" }]);
        cluster.kubernetes.create_node(NODE, &[])?;
        cluster.kubernetes.patch_node(NODE, &json!({ "spec": { "taints": taints } }))?;
        let environment = environment(&objects)?;
        // What the chart says, not the harness.
        let agent = cluster.agent().without("--startup-taint");
        let agent = environment.iter().fold(agent, |a, (name, value)| a.env(name, value));
        let _agent = agent.start()?;
        cart.wait_for_role("irsa")?;
        cart.credentials_of("irsa")?;
        ensure!(refused.get(&format!("{LIST}denied"))?.status == 403);
        all_are_used(cluster, &objects)
    })
}

#[test]
fn the_rights_are_those_that_are_used() -> Result<()> {
    with_pods("settings.prefetch=all")
}

#[test]
fn off_ec2_the_agent_reads_its_own_node() -> Result<()> {
    with_pods("settings.metadataEndpoint=none")
}

#[test]
fn tokens_are_a_right_of_their_own() -> Result<()> {
    with_pods("settings.serviceAccountTokens=request")
}

#[test]
fn the_node_is_changed_with_a_startup_taint_alone() -> Result<()> {
    with_pods(&format!("settings.startupTaint={TAINT}"))
}

#[test]
fn a_request_is_told_by_its_path() {
    let seen = |method: &str, target: &str| {
        taken(&Seen { method: method.to_owned(), target: target.to_owned() })
    };
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(seen("GET", "/api/v1/pods?watch=true&x=y"), said("watch pods"));
    assert_eq!(seen("GET", "/api/v1/namespaces?watch=true"), said("watch namespaces"));
    assert_eq!(seen("GET", "/api/v1/nodes/node-1"), said("get nodes"));
    let token = "/api/v1/namespaces/shop/serviceaccounts/cart/token";
    assert_eq!(seen("POST", token), said("create serviceaccounts/token"));
    let events = "/apis/events.k8s.io/v1/namespaces/shop/events";
    assert_eq!(seen("POST", events), said("create events.events.k8s.io"));
    assert_eq!(seen("PATCH", "/api/v1/nodes/node-1/status"), said("patch nodes/status"));
    assert_eq!(seen("GET", "/version"), None);
}
