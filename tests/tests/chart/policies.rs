//! What the admission policies let pass and refuse, as CEL evaluates them.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::chart::{self, Evaluation, LEAST, object};
use serde_json::{Value, json};

use super::{list, text};

const FEATURES: &str =
    "--set=settings.serviceAccountTokens=request,settings.startupTaint=podrole.dev/not-ready";
/// Who the agent is.
const AGENT: &str = "system:serviceaccount:podrole:podrole";
const NODE_CLAIM: &str = "authentication.kubernetes.io/node-name";

/// One request, and the message that refuses it; none where it passes.
struct Case {
    what: &'static str,
    given: Value,
    refused: Option<&'static str>,
}

fn passes(what: &'static str, given: Value) -> Case {
    Case { what, given, refused: None }
}

fn refused(what: &'static str, by: &'static str, given: Value) -> Case {
    Case { what, given, refused: Some(by) }
}

/// A policy as the API server takes it: each expression that is not true refuses, and so does an error.
fn hold(policy: &str, cases: &[Case]) -> Result<()> {
    let objects = chart::objects(&chart::template(&[LEAST, FEATURES])?)?;
    let spec = &object(&objects, "ValidatingAdmissionPolicy", policy)?["spec"];
    ensure!(spec["failurePolicy"] == "Fail", "{policy} fails open");
    let binding = object(&objects, "ValidatingAdmissionPolicyBinding", policy)?;
    ensure!(binding["spec"]["policyName"] == policy, "{binding}");
    ensure!(binding["spec"]["validationActions"] == json!(["Deny"]), "{binding}");
    let variables = list(spec, "/variables")
        .iter()
        .map(|v| Ok((text(v, "/name")?.to_owned(), text(v, "/expression")?.to_owned())))
        .collect::<Result<Vec<_>>>()?;
    let rules = list(spec, "/validations");
    let mut evaluations = Vec::new();
    for case in cases {
        for rule in &rules {
            let expression = text(rule, "/expression")?.to_owned();
            let (variables, given) = (variables.clone(), case.given.clone());
            evaluations.push(Evaluation { expression, variables, given });
        }
    }
    let values = chart::evaluate(&evaluations)?;
    for (case, values) in cases.iter().zip(values.chunks(rules.len())) {
        let failed = rules.iter().zip(values).find(|(_, value)| **value != true);
        let said = failed.map(|(rule, value)| format!("{} ({value})", rule["message"]));
        match case.refused {
            None => ensure!(said.is_none(), "{}: refused: {said:?}", case.what),
            Some(by) => {
                let said = said.with_context(|| format!("{} passes", case.what))?;
                ensure!(said.contains(by) && said.contains("(false)"), "{}: {said}", case.what);
            }
        }
    }
    Ok(())
}

fn pod(containers: &Value, init: &Value) -> Value {
    let mut spec = json!({ "containers": containers });
    if !init.is_null() {
        spec["initContainers"] = init.clone();
    }
    json!({ "request": { "kind": { "kind": "Pod" } }, "object": { "spec": spec } })
}

fn service(spec: &Value) -> Value {
    json!({ "request": { "kind": { "kind": "Service" } }, "object": { "spec": spec } })
}

#[test]
fn nobody_takes_podroles_ports() -> Result<()> {
    let ports = |port: u32| json!([{ "name": "a" }, { "name": "b", "ports": [{ "containerPort": 80 }, { "containerPort": 81, "hostPort": port }] }]);
    let (plain, none) = (json!([{ "name": "a" }]), Value::Null);
    hold(
        "podrole-ports",
        &[
            passes("a pod without ports", pod(&plain, &none)),
            passes("another hostPort", pod(&ports(8080), &none)),
            refused("the proxy's", "hostPort 16925 and 16926", pod(&ports(16925), &none)),
            refused("the admin's", "hostPort 16925 and 16926", pod(&ports(16926), &none)),
            refused("a sidecar's", "hostPort", pod(&plain, &ports(16925))),
            passes("a Service inside", service(&json!({ "ports": [{ "port": 16925 }] }))),
            passes("a Service without ports", service(&json!({ "externalIPs": ["10.0.0.10"] }))),
            passes(
                "another port outside",
                service(&json!({ "externalIPs": ["10.0.0.10"], "ports": [{ "port": 443 }] })),
            ),
            refused(
                "an external address",
                "externalIPs",
                service(
                    &json!({ "externalIPs": ["10.0.0.10"], "ports": [{ "port": 443 }, { "port": 16925 }] }),
                ),
            ),
            refused(
                "a node port",
                "node ports",
                service(&json!({ "ports": [{ "port": 80, "nodePort": 16925 }] })),
            ),
        ],
    )
}

#[test]
fn the_policy_on_ports_follows_the_admin_port() -> Result<()> {
    let set = "--set-string=settings.adminListen=0.0.0.0:17926";
    let objects = chart::objects(&chart::template(&[LEAST, set])?)?;
    let policy = object(&objects, "ValidatingAdmissionPolicy", "podrole-ports")?;
    ensure!(policy["spec"]["variables"][0]["expression"] == "[16925, 17926]", "{policy:#}");
    Ok(())
}

/// Whoever asks, with the node of a bound token.
fn user(name: &str, node: Option<&str>) -> Value {
    let extra = node.map_or(json!({}), |node| json!({ NODE_CLAIM: [node] }));
    json!({ "username": name, "extra": extra })
}

fn token_request(node: Option<&str>, audiences: &Value, bound: &Value, pod: &Value) -> Value {
    let mut spec = json!({ "audiences": audiences });
    if !bound.is_null() {
        spec["boundObjectRef"] = bound.clone();
    }
    json!({
        "request": { "userInfo": user(AGENT, node) },
        "object": { "spec": spec },
        "params": pod,
    })
}

#[test]
fn tokens_are_for_aws_and_for_pods_of_the_own_node() -> Result<()> {
    let sts = json!(["sts.amazonaws.com"]);
    let web = json!({ "kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "u-web" });
    let here = |name: &str, uid: &str, node: &str| json!({ "metadata": { "name": name, "uid": uid }, "spec": { "nodeName": node } });
    let own = here("web", "u-web", "node-1");
    let ask = token_request;
    let node = Some("node-1");
    hold(
        "podrole-tokens",
        &[
            passes("for STS", ask(node, &sts, &web, &own)),
            passes("for EKS", ask(node, &json!(["pods.eks.amazonaws.com"]), &web, &own)),
            passes(
                "another pod of the namespace",
                ask(node, &sts, &web, &here("api", "u-api", "node-2")),
            ),
            passes(
                "a pod without a node yet",
                ask(
                    node,
                    &sts,
                    &web,
                    &json!({ "metadata": { "name": "new", "uid": "u-new" }, "spec": {} }),
                ),
            ),
            refused(
                "for the API server",
                "AWS alone",
                ask(node, &json!(["https://kubernetes.default.svc"]), &web, &own),
            ),
            refused(
                "for two",
                "AWS alone",
                ask(node, &json!(["sts.amazonaws.com", "vault"]), &web, &own),
            ),
            refused("for nobody", "AWS alone", ask(node, &json!([]), &web, &own)),
            refused("unbound", "bound to a pod", ask(node, &sts, &Value::Null, &own)),
            refused(
                "bound to a Secret",
                "bound to a pod",
                ask(node, &sts, &json!({ "kind": "Secret", "name": "web", "uid": "u-web" }), &own),
            ),
            refused(
                "by name alone",
                "bound to a pod",
                ask(node, &sts, &json!({ "kind": "Pod", "name": "web" }), &own),
            ),
            refused(
                "of another node",
                "own node",
                ask(node, &sts, &web, &here("web", "u-web", "node-2")),
            ),
            refused(
                "of an old namesake",
                "own node",
                ask(node, &sts, &web, &here("web", "u-old", "node-1")),
            ),
            refused(
                "of a pod without a node",
                "own node",
                ask(
                    node,
                    &sts,
                    &web,
                    &json!({ "metadata": { "name": "web", "uid": "u-web" }, "spec": {} }),
                ),
            ),
            refused("by a token of no node", "name its node", ask(None, &sts, &web, &own)),
        ],
    )?;
    conditions("podrole-tokens")
}

/// Others than the agent are let alone.
fn conditions(policy: &str) -> Result<()> {
    let objects = chart::objects(&chart::template(&[LEAST, FEATURES])?)?;
    let spec = &object(&objects, "ValidatingAdmissionPolicy", policy)?["spec"];
    let conditions = list(spec, "/matchConditions");
    ensure!(conditions.len() == 1, "{conditions:?}");
    let expression = text(spec, "/matchConditions/0/expression")?;
    let given = |name: &str| Evaluation {
        expression: expression.to_owned(),
        variables: Vec::new(),
        given: json!({ "request": { "userInfo": user(name, None) } }),
    };
    let others = "system:serviceaccount:kube-system:podrole";
    let values = chart::evaluate(&[given(AGENT), given(others), given("system:node:node-1")])?;
    ensure!(values == [json!(true), json!(false), json!(false)], "{policy}: {values:?}");
    Ok(())
}

fn node_update(node: Option<&str>, sub: &str, change: impl Fn(&mut Value)) -> Value {
    let old = json!({
        "metadata": { "name": "node-1", "labels": { "zone": "a" }, "annotations": { "x": "y" } },
        "spec": {
            "providerID": "aws:///a/i-1",
            "taints": [
                { "key": "podrole.dev/not-ready", "effect": "NoSchedule" },
                { "key": "dedicated", "value": "gpu", "effect": "NoSchedule" },
            ],
        },
        "status": {
            "capacity": { "cpu": "4" }, "allocatable": { "cpu": "3" },
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.10" }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    });
    let mut new = old.clone();
    change(&mut new);
    json!({
        "request": { "userInfo": user(AGENT, node), "subResource": sub },
        "object": new, "oldObject": old,
    })
}

#[test]
fn of_its_own_node_the_agent_changes_its_taint_and_its_condition() -> Result<()> {
    let node = Some("node-1");
    let spec = |change: fn(&mut Value)| node_update(node, "", change);
    let status = |change: fn(&mut Value)| node_update(node, "status", change);
    hold(
        "podrole-node",
        &[
            passes("nothing", spec(|_| {})),
            passes(
                "its taint goes",
                spec(|n| n["spec"]["taints"] = json!([n["spec"]["taints"][1]])),
            ),
            passes(
                "its condition comes",
                status(|n| {
                    let ours = json!({ "type": "podrole.dev/Ready", "status": "True" });
                    n["status"]["conditions"] = json!([n["status"]["conditions"][0], ours]);
                }),
            ),
            refused("another node", "own Node", node_update(Some("node-2"), "", |_| {})),
            refused("a token of no node", "own Node", node_update(None, "", |_| {})),
            refused(
                "another taint goes",
                "no other",
                spec(|n| n["spec"]["taints"] = json!([n["spec"]["taints"][0]])),
            ),
            refused("all taints go", "no other", spec(|n| n["spec"]["taints"] = json!([]))),
            refused(
                "a taint comes",
                "no other",
                spec(|n| {
                    let evil = json!({ "key": "evil", "effect": "NoExecute" });
                    let (ours, other) = (&n["spec"]["taints"][0], &n["spec"]["taints"][1]);
                    n["spec"]["taints"] = json!([ours, other, evil]);
                }),
            ),
            refused(
                "a cordon",
                "nothing of a Node's spec",
                spec(|n| n["spec"]["unschedulable"] = json!(true)),
            ),
            refused(
                "another instance",
                "nothing of a Node's spec",
                spec(|n| n["spec"]["providerID"] = json!("i-2")),
            ),
            refused("a label", "no label", spec(|n| n["metadata"]["labels"]["zone"] = json!("b"))),
            refused(
                "an annotation",
                "no label",
                status(|n| n["metadata"]["annotations"] = json!({})),
            ),
            refused(
                "another condition",
                "nothing else of its status",
                status(|n| n["status"]["conditions"][0]["status"] = json!("False")),
            ),
            refused(
                "a condition away",
                "nothing else of its status",
                status(|n| n["status"]["conditions"] = json!([])),
            ),
            refused(
                "more room",
                "nothing else of its status",
                status(|n| n["status"]["allocatable"]["cpu"] = json!("64")),
            ),
            refused(
                "another address",
                "nothing else of its status",
                status(|n| n["status"]["addresses"][0]["address"] = json!("10.0.0.66")),
            ),
        ],
    )?;
    conditions("podrole-node")
}
