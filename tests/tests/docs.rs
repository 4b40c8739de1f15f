//! The pages are true: the manifests of those on migration, unchanged, give each pod the role that the page
//! says, with the flags that it names; and commands run, or say that they need a cluster.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use podrole_tests::agent::{self, Agent};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::docs::{Block, blocks, flags};
use podrole_tests::http::LIST;
use podrole_tests::pod::Pod;
use podrole_tests::pod::token::{EKS, IRSA};
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;
use serde_json::Value;

/// What a page says of a pod.
struct Expected<'c> {
    pod: Pod<'c>,
    /// The role's ARN, or `refused`.
    role: String,
}

fn of<'b>(blocks: &'b [Block], info: &str) -> Result<&'b str> {
    let block = blocks.iter().find(|block| block.info == info);
    Ok(&block.with_context(|| format!("the page has no block `{info}`"))?.text)
}

/// Applies the page's manifests; pods start on the node.
fn apply<'c>(cluster: &'c Cluster, manifests: &str) -> Result<Vec<Expected<'c>>> {
    let mut pods = Vec::new();
    for manifest in manifests.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(manifest).context(manifest.to_owned())?;
        if object["kind"] != "Pod" {
            cluster.kubernetes.apply(&object)?;
            continue;
        }
        let expected = manifest.split("# expected: ").nth(1).and_then(|rest| rest.lines().next());
        let role = expected.with_context(|| format!("nothing is expected of {manifest}"))?.trim();
        let text = |at: &str| object.pointer(at).and_then(Value::as_str);
        let name = text("/metadata/name").context("a pod without a name")?;
        let mut pod = cluster.pod(name).namespace(text("/metadata/namespace").unwrap_or("default"));
        let annotations = object["metadata"]["annotations"].as_object().into_iter().flatten();
        for (key, value) in annotations {
            pod = pod.annotation(key, value.as_str().context("an annotation is no text")?);
        }
        if let Some(account) = text("/spec/serviceAccountName") {
            pod = pod.service_account(account);
        }
        if manifest.contains(IRSA.volume) {
            pod = pod.token(IRSA);
        }
        pods.push(Expected { pod: pod.start()?, role: role.to_owned() });
    }
    Ok(pods)
}

fn start(cluster: &Cluster, command: &str) -> Result<Agent> {
    let agent = cluster.agent().without("--permitted-roles");
    let agent = flags(command)?.iter().fold(agent, |agent, (flag, value)| agent.set(flag, value));
    agent.start()
}

/// Each line as an operator types it on the node.
fn run(cluster: &Cluster, commands: &str) -> Result<()> {
    for line in commands.lines() {
        let mut words = line.split_whitespace();
        let program = match words.next() {
            Some("podrole") => agent::binary()?,
            Some("curl") => PathBuf::from("curl"),
            other => bail!("{other:?} of {line:?} is not run here"),
        };
        let mut command = cluster.node_place().command(program)?;
        command.args(words).env("PODROLE_SOCKET", cluster.socket());
        command.env("PODROLE_BPF_FS", cluster.bpf_fs.path());
        let done = process::run(&mut command, b"", PATIENCE)?;
        ensure!(done.status.success(), "{line}: {}{}", done.text(), done.stderr);
    }
    Ok(())
}

fn check(Expected { pod, role }: &Expected<'_>) -> Result<()> {
    if role == "refused" {
        let answer = pod.get(LIST)?;
        ensure!(answer.status == 403, "{}: {answer:?}", pod.name);
        return Ok(());
    }
    let name = role.rsplit('/').next().context("no role")?;
    pod.wait_for_role(name)?;
    let session = pod.credentials_of(name)?.session()?;
    ensure!(session.role == *role, "{} has {}, not {role}", pod.name, session.role);
    let own = format!("{}@", pod.namespace);
    ensure!(session.session.starts_with(&own), "{} is called {}", pod.name, session.session);
    Ok(())
}

fn page_is_true(page: &str) -> Result<()> {
    Cluster::with(|cluster| {
        let blocks = blocks(page)?;
        let pods = apply(cluster, of(&blocks, "yaml apply")?)?;
        let _agent = start(cluster, of(&blocks, "sh agent")?)?;
        pods.iter().try_for_each(check)?;
        run(cluster, of(&blocks, "sh run")?)
    })
}

#[test]
fn the_page_on_kube2iam_is_true() -> Result<()> {
    page_is_true("migrate-from-kube2iam.md")
}

#[test]
fn the_page_on_kiam_is_true() -> Result<()> {
    page_is_true("migrate-from-kiam.md")
}

#[test]
fn the_page_on_irsa_is_true() -> Result<()> {
    page_is_true("migrate-from-irsa.md")
}

#[test]
fn the_page_on_pod_identity_is_true() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.sts.associate("shop", "cart", "cart-role")?;
        let cart = cluster.pod("cart-0").namespace("shop").service_account("cart").token(EKS);
        let pod = cart.start()?;
        let _agent = start(cluster, of(&blocks("pod-identity.md")?, "sh agent")?)?;
        pod.wait_for_role("cart-role")?;
        let session = pod.credentials_of("cart-role")?.session()?;
        ensure!(session.role == role_arn("cart-role"), "{}", session.role);
        Ok(())
    })
}

#[test]
fn the_commands_of_the_pages_for_operators_run() -> Result<()> {
    Cluster::with(|cluster| {
        let agent = cluster.agent().start()?;
        for page in ["3am.md", "metrics.md"] {
            run(cluster, of(&blocks(page)?, "sh run")?).context(page)?;
        }
        drop(agent);
        run(cluster, of(&blocks("troubleshooting.md")?, "sh run")?)
    })
}
