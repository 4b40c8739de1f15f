//! A cluster with kube2iam and twelve workloads comes to podrole by the page alone: its flags, its steps, in
//! its order, with what the report says is to be done. Nobody is without access in between.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use podrole_tests::agent::{Agent, AgentBuilder};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::docs::{Block, blocks, flags};
use podrole_tests::http::LIST;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::kube2iam::access_key;
use podrole_tests::pretend::node;
use podrole_tests::pretend::sts::behaviour::Way;
use podrole_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

const PAGE: &str = "migrate-from-kube2iam.md";

/// Pods of twelve workloads, and the roles that kube2iam gives them.
struct Town<'c> {
    mapped: Vec<(Pod<'c>, &'static str)>,
    /// Of these the page's report says what role they need.
    unmapped: Vec<Pod<'c>>,
    others: Vec<Pod<'c>>,
}

impl<'c> Town<'c> {
    fn new(cluster: &'c Cluster) -> Result<Self> {
        let allow = |roles: &str| json!({ "metadata": { "annotations": { "iam.amazonaws.com/allowed-roles": roles } } });
        for (namespace, roles) in [
            ("shop", r#"["cart", "orders", "untaggable-legacy"]"#),
            ("batch", r#"["nightly", "arn:aws:iam::444455556666:role/import"]"#),
        ] {
            cluster.kubernetes.patch_namespace(namespace, &allow(roles))?;
        }
        let pod = |namespace: &str, kind: &str, name: &str| {
            cluster
                .pod(&format!("{name}-0"))
                .namespace(namespace)
                .of(kind, name)
                .service_account(name)
        };
        let mapped = |namespace: &str, kind: &str, name: &str, role: &'static str| -> Result<_> {
            // Of another account than the others, as kube2iam takes it too.
            let written = if role == "import" { role_arn(role) } else { role.to_owned() };
            Ok((
                pod(namespace, kind, name)
                    .annotation("iam.amazonaws.com/role", &written)
                    .start()?,
                role,
            ))
        };
        Ok(Self {
            mapped: vec![
                mapped("shop", "Deployment", "cart", "cart")?,
                mapped("shop", "StatefulSet", "orders", "orders")?,
                mapped("shop", "Deployment", "legacy", "untaggable-legacy")?,
                mapped("batch", "CronJob", "nightly", "nightly")?,
                mapped("batch", "Deployment", "import", "import")?,
                mapped("ops", "DaemonSet", "backup", "backup")?,
            ],
            unmapped: vec![
                pod("ops", "Deployment", "monitor").start()?,
                pod("data", "Deployment", "reader").start()?,
            ],
            others: vec![
                pod("data", "StatefulSet", "db").start()?,
                pod("shop", "Deployment", "front").start()?,
                pod("shop", "Deployment", "old").start()?,
                pod("ops", "DaemonSet", "cni").host_network().start()?,
            ],
        })
    }

    /// What everybody does all day.
    fn work(&self) -> Result<()> {
        for (pod, role) in &self.mapped {
            pod.get(LIST)?;
            pod.get(&format!("{LIST}{role}"))?;
        }
        for pod in &self.unmapped {
            pod.token()?;
            pod.get(LIST)?;
            pod.get(&format!("{LIST}{}", node::ROLE))?;
        }
        let [_db, front, old, cni] = self.others.as_slice() else { bail!("four others") };
        ensure!(front.get("/latest/meta-data/placement/region")?.status == 200);
        old.get("/latest/user-data")?;
        ensure!(cni.node_credentials()?.is_some(), "a hostNetwork pod is the node");
        Ok(())
    }

    fn by_kube2iam(&self, namespace: &str) -> Result<()> {
        for (pod, role) in self.mapped.iter().filter(|(pod, _)| pod.namespace == namespace) {
            let answer = pod.get(&format!("{LIST}{role}"))?;
            ensure!(answer.body.contains(&access_key(role)), "{}: {answer:?}", pod.name);
        }
        Ok(())
    }

    /// Those of a namespace have their own role of podrole's.
    fn by_podrole(&self, namespace: &str) -> Result<()> {
        for (pod, role) in self.mapped.iter().filter(|(pod, _)| pod.namespace == namespace) {
            wait::until_true(&format!("{} to have {role} by podrole", pod.name), || {
                let answer = pod.get(&format!("{LIST}{role}"))?;
                ensure!(answer.status == 200 || answer.status == 503, "{}: {answer:?}", pod.name);
                Ok(answer.status == 200 && !answer.body.contains(&access_key(role)))
            })?;
            let session = pod.credentials_of(role)?.session()?;
            ensure!(session.role.ends_with(&format!("/{role}")), "{session:?}");
        }
        Ok(())
    }

    fn namespaces(&self) -> Vec<&str> {
        let pods = self.mapped.iter().map(|(pod, _)| pod).chain(&self.unmapped);
        let mut names: Vec<_> = pods.map(|pod| pod.namespace.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The agent as the page installs it.
fn agent<'c>(cluster: &'c Cluster, page: &[Block], mode: &str) -> Result<AgentBuilder<'c>> {
    let command = page.iter().find(|block| block.info == "sh agent").context("no flags")?;
    let agent = cluster.agent().without("--permitted-roles").set("--trial-spread", "0");
    let agent =
        flags(&command.text)?.iter().fold(agent, |agent, (flag, value)| agent.set(flag, value));
    Ok(agent.set("--mode", mode))
}

fn report(cluster: &Cluster) -> Result<(Value, bool)> {
    let told = cluster.from_elsewhere(&["report", "--output", "json"])?;
    let json = serde_json::from_str(&told.text()).with_context(|| format!("{told:?}"))?;
    Ok((json, told.status.success()))
}

fn outcomes(report: &Value) -> Vec<String> {
    let all = report["workloads"].as_array().into_iter().flatten();
    let text = |workload: &Value, key: &str| workload[key].as_str().unwrap_or_default().to_owned();
    all.map(|it| format!("{}/{} {}", text(it, "namespace"), text(it, "name"), text(it, "outcome")))
        .collect()
}

/// Does what the report says is to be done.
fn mend(cluster: &Cluster, report: &Value) -> Result<()> {
    for workload in report["workloads"].as_array().into_iter().flatten() {
        if workload["outcome"] != "loses-access" {
            continue;
        }
        for paste in workload["paste"].as_array().into_iter().flatten() {
            let text = paste["text"].as_str().unwrap_or_default();
            if paste["what"] == "RoleAssociation" {
                // The one thing that the operator must know: which role it needs.
                let name = workload["name"].as_str().unwrap_or_default();
                let object: Value = serde_saphyr::from_str(&text.replace("ROLE-TO-CHOOSE", name))?;
                let name = object["metadata"]["name"].as_str().context("no name")?;
                cluster.kubernetes.try_associate(name, &object["spec"])?.ok()?;
            } else {
                let policy: Value = serde_json::from_str(text)?;
                let actions = policy["Statement"][0]["Action"].to_string();
                ensure!(actions.contains("sts:TagSession"), "{policy}");
            }
        }
        if workload["says"].as_str().is_some_and(|says| says.contains("is refused")) {
            // The Namespace must permit it, as the report says.
            let role = workload["role"].as_str().and_then(|role| role.rsplit('/').next());
            let roles = format!("[{:?}]", role.context("no role")?);
            let patch = json!({ "metadata": { "annotations": { "iam.amazonaws.com/allowed-roles": roles } } });
            let namespace = workload["namespace"].as_str().context("no namespace")?;
            cluster.kubernetes.patch_namespace(namespace, &patch)?;
        }
    }
    Ok(())
}

/// The walk of the page.
struct Walk<'w, 'c> {
    cluster: &'c Cluster,
    page: &'w [Block],
    town: &'w Town<'c>,
    agent: Option<Agent>,
}

impl Walk<'_, '_> {
    fn step(&mut self, line: &str) -> Result<()> {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["helm", ..] if line.contains("mode=audit") => {
                self.install("audit")?;
                self.all(by_kube2iam)
            }
            ["helm", ..] if line.contains("mode=enforce") => {
                self.install("enforce")?;
                self.all(by_podrole)
            }
            ["podrole", "report", "#", ..] => self.report_and_mend(),
            ["podrole", "report", "--again"] => self.report_again(),
            ["kubectl", "label", "namespace", name, label, ..] => {
                self.cluster.kubectl(line)?;
                if label.ends_with("=enforce") {
                    self.town.by_podrole(name)?;
                } else {
                    until_kube2iam(self.town, name)?;
                }
                let others = self.town.namespaces().into_iter().filter(|other| other != name);
                others.into_iter().try_for_each(|other| self.town.by_kube2iam(other))
            }
            ["kubectl", "label", "node", ..] => {
                self.cluster.kubectl(line)?;
                if line.ends_with("=audit") || line.ends_with("=off") {
                    return self.all(until_kube2iam);
                }
                self.all(by_podrole)
            }
            ["kubectl", "delete", "daemonset", ..] => Ok(()),
            ["iptables", ..] => {
                self.cluster.remove_kube2iams_redirect()?;
                self.all(by_podrole)
            }
            _ => bail!("the page's step is not understood: {line}"),
        }
    }

    /// Of every namespace, and then everybody works.
    fn all(&self, is: impl Fn(&Town<'_>, &str) -> Result<()>) -> Result<()> {
        self.town.namespaces().into_iter().try_for_each(|name| is(self.town, name))?;
        self.town.work()
    }

    fn install(&mut self, mode: &str) -> Result<()> {
        if let Some(mut before) = self.agent.take() {
            before.terminate()?;
            before.wait(PATIENCE)?;
        }
        let mut agent = agent(self.cluster, self.page, mode)?.start()?;
        agent.wait_until_ready()?;
        self.agent = Some(agent);
        Ok(())
    }

    fn report_and_mend(&self) -> Result<()> {
        let mut before = Value::Null;
        wait::until_true("the whole report", || {
            before = report(self.cluster)?.0;
            Ok(!outcomes(&before).iter().any(|it| it.ends_with("unknown")))
        })?;
        println!("{}", self.cluster.from_elsewhere(&["report"])?.text());
        ensure!(!report(self.cluster)?.1, "workloads would lose access");
        // In IAM, as the report says; nobody else can do that.
        self.cluster.sts.behave("import", Way::Normal, Duration::ZERO)?;
        mend(self.cluster, &before)
    }

    fn report_again(&self) -> Result<()> {
        self.town.work()?;
        self.cluster.from_elsewhere(&["report", "--again"])?;
        let mut last = Vec::new();
        wait::until_true("a good report", || {
            let (report, good) = report(self.cluster)?;
            last = outcomes(&report);
            Ok(good)
        })
        .with_context(|| format!("{last:#?}"))?;
        println!("{}", self.cluster.from_elsewhere(&["report"])?.text());
        Ok(())
    }
}

fn by_podrole(town: &Town<'_>, namespace: &str) -> Result<()> {
    town.by_podrole(namespace)
}

fn by_kube2iam(town: &Town<'_>, namespace: &str) -> Result<()> {
    town.by_kube2iam(namespace)
}

fn until_kube2iam(town: &Town<'_>, namespace: &str) -> Result<()> {
    wait::until_true("kube2iam to serve again", || Ok(town.by_kube2iam(namespace).is_ok()))
}

#[test]
fn twelve_workloads_come_from_kube2iam_by_the_page_alone() -> Result<()> {
    Cluster::with(|cluster| {
        let page = blocks(PAGE)?;
        let town = Town::new(cluster)?;
        let mapped: Vec<_> = town.mapped.iter().map(|(pod, role)| (pod, *role)).collect();
        let _kube2iam = cluster.kube2iam(&mapped)?;
        cluster.sts.behave("import", Way::AccessDenied, Duration::ZERO)?;
        cluster.kubernetes.install_definition()?;
        town.work()?;
        cluster.announce_agent()?;
        let mut walk = Walk { cluster, page: &page, town: &town, agent: None };
        let steps = page.iter().filter(|block| block.info == "sh walk");
        let lines = steps.flat_map(|block| block.text.lines()).filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.collect();
        ensure!(lines.len() >= 8, "{lines:?}");
        for line in lines {
            println!("$ {line}");
            walk.step(line)?;
        }
        for pod in &town.unmapped {
            pod.wait_for_role(pod.name.trim_end_matches("-0"))?;
        }
        ensure!(report(cluster)?.1, "{:#?}", outcomes(&report(cluster)?.0));
        Ok(())
    })
}
