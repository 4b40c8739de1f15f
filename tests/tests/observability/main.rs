//! The shipped dashboard and alerts: their queries against a real agent, by a real Prometheus.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::cluster::Cluster;
use podrole_tests::curl;
use podrole_tests::dashboard::Dashboard;
use podrole_tests::http::{LIST, Request};
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::prometheus::{Prometheus, alerts, file, promtool};
use podrole_tests::wait;
use serde_json::Value;

mod picture;

/// The rules that are shipped.
fn rules() -> Result<Vec<Value>> {
    let text = fs::read_to_string(alerts())?;
    let rules: Value = serde_saphyr::from_str(&text)?;
    let rules = rules.pointer("/groups/0/rules").and_then(Value::as_array);
    Ok(rules.context("no rules")?.clone())
}

/// What GitHub makes of a heading, for those of one word.
fn anchors(page: &str) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(file("docs").join(page))?;
    let headings = text.lines().filter_map(|line| line.strip_prefix("### "));
    Ok(headings.map(str::to_lowercase).collect())
}

/// The metrics that an expression names.
fn metrics(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("podrole_") || word.starts_with("process_"));
    let plain = |word: &str| word.trim_end_matches("_bucket").to_owned();
    ours.map(plain).collect()
}

/// The metrics of the reference, by the first column of its table.
fn reference() -> Result<BTreeSet<String>> {
    let page = fs::read_to_string(file("docs/metrics.md"))?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned()));
    Ok(names.filter(|name| name.starts_with("podrole_") || name.starts_with("process_")).collect())
}

#[test]
fn the_alerts_are_valid_and_each_fires_of_what_it_is_about() -> Result<()> {
    promtool(&["check", "rules", &alerts().display().to_string()])?;
    let tests = file("tests/prometheus/alerts.test.yaml");
    promtool(&["test", "rules", &tests.display().to_string()])?;
    let tests = fs::read_to_string(tests)?;
    for rule in rules()? {
        let name = rule["alert"].as_str().context("no name")?;
        ensure!(tests.contains(&format!("  - name: {name}\n")), "{name} has no test");
    }
    Ok(())
}

#[test]
fn each_alert_leads_to_its_section_of_the_runbook() -> Result<()> {
    const RUNBOOK: &str = "https://github.com/podrole/podrole/blob/main/docs/3am.md#";
    let mut anchors = anchors("3am.md")?;
    for rule in rules()? {
        let name = rule["alert"].as_str().context("no name")?;
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        ensure!(["critical", "warning", "info"].contains(&severity), "{name}: {severity:?}");
        let url = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
        let anchor = url.strip_prefix(RUNBOOK).with_context(|| format!("{name}: {url:?}"))?;
        ensure!(anchor == name.to_lowercase() && anchors.remove(anchor), "{name}: {url:?}");
    }
    ensure!(anchors.is_empty(), "sections without an alert: {anchors:?}");
    Ok(())
}

#[test]
fn no_query_names_a_metric_that_there_is_not() -> Result<()> {
    let known = reference()?;
    let dashboard = Dashboard::read()?;
    let queries =
        dashboard.queries().map(|(panel, target)| (panel.title.clone(), target.expr.clone()));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = rules()?;
    let alerts = alerts.iter().map(|rule| (text(&rule["alert"]), text(&rule["expr"])));
    let mut named = BTreeSet::new();
    for (title, expression) in queries.chain(alerts) {
        let metrics = metrics(&expression);
        ensure!(metrics.is_subset(&known), "{title}: {expression}");
        named.extend(metrics);
    }
    let unseen: Vec<_> = known.difference(&named).collect();
    let others = ["process_threads", "process_virtual_memory_bytes"];
    ensure!(unseen == others, "on no panel and in no alert: {unseen:?}");
    Ok(())
}

/// What pods do that moves every counter which a panel shows.
fn be_busy(pods: &[Pod<'_>]) -> Result<()> {
    for pod in pods {
        pod.get(LIST)?;
        pod.get(&format!("{LIST}{}", pod.name))?;
        pod.ask(&Request::get("/latest/meta-data/placement/region"))?;
    }
    Ok(())
}

#[test]
fn every_query_has_an_answer_from_a_real_agent() -> Result<()> {
    Cluster::with(|cluster| {
        let _agent = cluster.agent().start()?;
        let prometheus = Prometheus::start(cluster)?;
        wait::until_true("the first scrape", || {
            Ok(!prometheus.query("podrole_ready == 1")?.is_empty())
        })?;
        // A good pod on a good node raises nothing, and every rule can be evaluated.
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        web.wait_for_role("web")?;
        wait::until_true("the rules' evaluation", || {
            Ok(prometheus.alerts()?.iter().all(|alert| alert.health == "ok"))
        })?;
        for alert in prometheus.alerts()? {
            ensure!(alert.state == "inactive" && alert.error.is_empty(), "{alert:?}");
        }
        let stranger = Place { cgroup: cluster.node_place().cgroup, ..Place::clone(&web) };
        stranger.udp("169.254.169.254:53", b"hello")?;
        let denied = cluster.pod("denied").role("denied").start()?;
        let bad = cluster.pod("bad").annotation("iam.amazonaws.com/role", "not a role").start()?;
        let pods = [web, denied, bad, cluster.pod("plain").start()?];
        for (panel, target) in Dashboard::read()?.queries() {
            let expression = target.expression("1m");
            let what = format!("an answer to {:?}: {expression}", panel.title);
            wait::until_true(&what, || {
                be_busy(&pods)?;
                let answer = prometheus.query(&expression)?;
                Ok(answer.iter().any(|(_, value)| value.is_finite()))
            })?;
        }
        Ok(())
    })
}

#[test]
fn what_goes_wrong_on_a_node_raises_its_alert() -> Result<()> {
    Cluster::with(|cluster| {
        let agent = cluster.agent().start()?;
        let prometheus = Prometheus::start(cluster)?;
        // What is counted before the first scrape is no increase.
        wait::until_true("the first scrape", || {
            Ok(!prometheus.query("podrole_ready == 1")?.is_empty())
        })?;
        let pod = cluster.pod("denied").role("denied").start()?;
        let raised = |name: &str| {
            wait::until_true(name, || {
                pod.get(&format!("{LIST}denied")).ok();
                let alerts = prometheus.alerts()?;
                let raised =
                    alerts.iter().any(|alert| alert.name == name && alert.state != "inactive");
                Ok(raised)
            })
        };
        raised("PodroleRolesRefused")?;
        drop(agent);
        raised("PodroleDown")?;
        let gone =
            curl::request(&cluster.node_place(), "GET", "http://10.0.0.10:16926/metrics", &[], "");
        ensure!(gone.is_err(), "the agent is still there");
        Ok(())
    })
}
