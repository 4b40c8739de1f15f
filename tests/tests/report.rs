//! `podrole report`: what pods in audit ask for, what would answer, whether AWS would give it, what is to be
//! done; gathered from the agents, and failing as long as a workload would lose access.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent::AgentBuilder;
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{LIST, METADATA, Request, TOKEN, TOKEN_HEADER, TOKEN_TTL};
use podrole_tests::pretend::node;
use podrole_tests::wait;
use serde_json::Value;

const PASSWORD: &str = "a-header-that-must-not-be-read";

fn audit(cluster: &Cluster) -> AgentBuilder<'_> {
    cluster.agent().set("--mode", "audit").set("--trial-spread", "0")
}

/// The report and whether it is good.
fn report(cluster: &Cluster) -> Result<(Value, bool)> {
    let told = cluster.from_elsewhere(&["report", "--output", "json"])?;
    let json = serde_json::from_str(&told.text()).with_context(|| format!("{told:?}"))?;
    Ok((json, told.status.success()))
}

fn workload(report: &Value, name: &str) -> Result<Value> {
    let all = report["workloads"].as_array().context("no workloads")?;
    let is_it = |workload: &&Value| {
        let text = |key: &str| workload[key].as_str().unwrap_or_default();
        name == format!("{}/{}/{}", text("namespace"), text("kind"), text("name"))
    };
    all.iter().find(is_it).cloned().with_context(|| format!("no {name}: {report}"))
}

/// Waits until a workload's report is so.
fn until(cluster: &Cluster, name: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    wait::until_true(&format!("the report on {name}"), || {
        last = workload(&report(cluster)?.0, name)?;
        Ok(is(&last))
    })
    .with_context(|| format!("last: {last:#}"))?;
    Ok(last)
}

#[test]
fn what_was_asked_for_is_told_by_workload_and_nothing_of_headers() -> Result<()> {
    Cluster::with(|cluster| {
        let pod =
            cluster.pod("web-1").namespace("shop").of("Deployment", "web").role("web").start()?;
        let old = cluster.pod("old-0").namespace("shop").of("StatefulSet", "old").start()?;
        let _agent = audit(cluster).start()?;
        cluster.announce_agent()?;
        // IMDSv2, with a header that is nobody's business.
        let token = pod.token()?;
        let list = Request::get(LIST).header(TOKEN_HEADER, &token).header("X-Secret", PASSWORD);
        ensure!(pod.ask(&list)?.body == node::ROLE);
        // Lines that end as none should: what follows is not read either.
        pod.tcp(METADATA, format!("GET /a HTTP/1.0\nX-Secret: {PASSWORD}\n\n").as_bytes())?;
        // IMDSv1, by IPv6 too.
        ensure!(old.get(&format!("{LIST}{}", node::ROLE))?.status == 200);
        old.ask_at("[fd00:ec2::254]:80", &Request::get("/latest/user-data"))?;

        let old =
            until(cluster, "shop/StatefulSet/old", |it| it["asked"]["others"]["user-data"] == 1)?;
        ensure!(
            old["asked"]["credentials"][node::ROLE] == 1 && old["asked"]["tokens"] == 0,
            "{old}"
        );
        ensure!(old["notFound"][0] == "user-data", "{old}");
        ensure!(old["outcome"] == "loses-access", "{old}");
        let paste = old["paste"][0]["text"].as_str().context("nothing to paste")?;
        ensure!(
            paste.contains("namespace: shop\n") && paste.contains("serviceAccount: default\n"),
            "{paste}"
        );

        let web = until(cluster, "shop/Deployment/web", |it| it["asked"]["others"]["a"] == 1)?;
        ensure!(web["asked"]["tokens"] == 1 && web["asked"]["roleLists"] == 1, "{web}");
        let (whole, _) = report(cluster)?;
        ensure!(!whole.to_string().contains(PASSWORD) && !whole.to_string().contains(&token));
        let put = Request::put(TOKEN).header(TOKEN_TTL, "60");
        ensure!(pod.ask(&put)?.status == 200);
        Ok(())
    })
}

#[test]
fn roles_are_tried_once_with_tags_and_where_that_is_refused_without() -> Result<()> {
    Cluster::with(|cluster| {
        let pod =
            |name: &str, role: &str| cluster.pod(name).of("DaemonSet", name).role(role).start();
        let _pods =
            [pod("good", "good")?, pod("untagged", "untaggable-x")?, pod("bad", "denied-x")?];
        let _second = cluster.pod("good-2").of("DaemonSet", "good").role("good").start()?;
        let _agent = audit(cluster).start()?;
        cluster.announce_agent()?;
        let good = until(cluster, "default/DaemonSet/good", |it| it["outcome"] == "has-role")?;
        ensure!(good["session"] == "granted" && good["pods"] == 2, "{good}");
        ensure!(good["role"] == role_arn("good").as_str() && good["rule"] == "pod annotation");
        let untagged =
            until(cluster, "default/DaemonSet/untagged", |it| it["outcome"] == "loses-access")?;
        ensure!(untagged["sessionWithoutTags"] == "granted", "{untagged}");
        ensure!(untagged["says"].as_str().is_some_and(|it| it.contains("lacks sts:TagSession")));
        let policy = untagged["paste"][0]["text"].as_str().context("no policy")?;
        ensure!(policy.contains("sts:TagSession") && policy.contains(node::ROLE), "{policy}");
        let bad = until(cluster, "default/DaemonSet/bad", |it| it["outcome"] == "loses-access")?;
        ensure!(bad["session"].as_str().is_some_and(|it| it.starts_with("refused: AccessDenied")));
        ensure!(bad["whatToDo"].is_string(), "{bad}");
        ensure!(!report(cluster)?.1, "exit 1 while a workload would lose access");
        ensure!(cluster.sts.asked_for("good")?.len() == 1, "once for a role");
        ensure!(cluster.sts.asked_for("untaggable-x")?.len() == 2, "and once without tags");
        Ok(())
    })
}

#[test]
fn it_is_good_when_nobody_loses_anything_and_survives_a_restart() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").of("Deployment", "web").role("web").start()?;
        let mut agent = audit(cluster).start()?;
        let none = cluster.from_elsewhere(&["report"])?;
        ensure!(
            none.status.code() == Some(1) && none.stderr.contains("--agent-namespace"),
            "{none:?}"
        );
        cluster.announce_agent()?;
        web.get(LIST)?;
        let asked = |it: &Value| it["asked"]["roleLists"] == 1 && it["outcome"] == "has-role";
        until(cluster, "default/Deployment/web", asked)?;
        let told = cluster.from_elsewhere(&["report"])?;
        ensure!(told.status.success(), "{told:?}");
        ensure!(told.text().contains("0 would lose access"), "{told:?}");
        let here = cluster.ask(&["report", "--on-node"])?;
        ensure!(
            here.status.success() && here.text().contains("default/Deployment/web"),
            "{here:?}"
        );

        // What was asked is kept for the next agent.
        wait::until_true("the file of what was asked", || {
            Ok(cluster.directory().join("state/asked.json").exists())
        })?;
        agent.terminate()?;
        agent.wait(wait::PATIENCE)?;
        let silent = report(cluster)?;
        ensure!(!silent.1 && silent.0["unanswered"][0]["node"] == "node-1", "{silent:?}");
        let _agent = audit(cluster).start()?;
        until(cluster, "default/Deployment/web", asked)?;
        Ok(())
    })
}

#[test]
fn a_job_that_has_ended_is_told_of_still() -> Result<()> {
    Cluster::with(|cluster| {
        let _agent = audit(cluster).start()?;
        cluster.announce_agent()?;
        let pod = cluster.pod("nightly-29400120-x").of("CronJob", "nightly").role("nightly");
        let pod = pod.start()?;
        pod.get(LIST)?;
        until(cluster, "default/CronJob/nightly", |it| it["asked"]["roleLists"] == 1)?;
        pod.delete()?;
        let is_told = |it: &Value| it["pods"] == 0 && it["outcome"] == "has-role";
        until(cluster, "default/CronJob/nightly", is_told)?;
        Ok(())
    })
}
