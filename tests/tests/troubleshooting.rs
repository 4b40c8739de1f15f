//! The page on troubleshooting is true: its commands print what it shows, on a node with the symptom.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent;
use podrole_tests::aws::{STS_URL, role_arn};
use podrole_tests::bridge::container;
use podrole_tests::cluster::Cluster;
use podrole_tests::docs::{Block, blocks, is_as_shown};
use podrole_tests::pod::Pod;
use podrole_tests::pretend::node;
use podrole_tests::pretend::sts::behaviour::Way;
use podrole_tests::process::{self, Process};
use podrole_tests::prometheus::file;
use podrole_tests::wait::{self, PATIENCE};

const PAGE: &str = "troubleshooting.md";

/// The page's block of this name: a command, and what it prints.
fn block(name: &str) -> Result<(String, String)> {
    let info = format!("console {name}");
    let block = blocks(PAGE)?.into_iter().find(|block| block.info == info);
    let Block { text, .. } = block.with_context(|| format!("{PAGE} has no block `{info}`"))?;
    let (command, shown) = text.split_once('\n').context("nothing below the command")?;
    let command = command.strip_prefix("# podrole ").context("no command of podrole")?;
    Ok((command.to_owned(), shown.to_owned()))
}

/// What a command prints on the node, as an operator types it there.
fn output(cluster: &Cluster, arguments: &str) -> Result<String> {
    let mut command = cluster.node_place().command(agent::binary()?)?;
    command.args(arguments.split_whitespace());
    command.env("KUBECONFIG", cluster.kubernetes.kubeconfig());
    command.env("PODROLE_SOCKET", cluster.socket());
    command.env("PODROLE_POD_CGROUP", cluster.pod_cgroup());
    command.env("PODROLE_BPF_FS", cluster.bpf_fs.path());
    let keys = node::Keys::of_environment();
    command.env("AWS_REGION", node::REGION).env("AWS_ENDPOINT_URL_STS", STS_URL);
    command.env("AWS_ACCESS_KEY_ID", keys.id).env("AWS_SECRET_ACCESS_KEY", keys.secret);
    let done = process::run(&mut command, b"", PATIENCE)?;
    Ok(format!("{}{}", done.text(), done.stderr))
}

/// Runs a block's command until it prints what the page shows.
fn is_true(cluster: &Cluster, name: &str) -> Result<()> {
    let (command, shown) = block(name)?;
    let mut printed = String::new();
    wait::until_true(&format!("what {PAGE} shows of {name}"), || {
        printed = output(cluster, &command)?;
        Ok(is_as_shown(&shown, &printed))
    })
    .with_context(|| format!("podrole {command}\n{printed}\nis shown as\n{shown}"))
}

/// What a `NetworkPolicy` comes to that does not let pods reach their node.
const POLICY: &str = "table inet policies { chain input { type filter hook input priority 0; tcp dport 16925 drop; }\n}\n";

fn pods(cluster: &Cluster) -> Result<(Vec<Pod<'_>>, Process)> {
    cluster.sts.behave("report", Way::AccessDenied, Duration::ZERO)?;
    let pod = |name: &str| cluster.pod(name).namespace("shop");
    let cart = pod("cart").role("cart").start()?;
    // As every container has one: `podrole check --pod` enters its network.
    let process = cluster.mirror_at(&cart, "127.0.0.1:9")?;
    let others = [pod("web").role("admin"), pod("report").role("report"), pod("plain")];
    let others = others.into_iter().map(podrole_tests::pod::PodBuilder::start);
    Ok(([Ok(cart)].into_iter().chain(others).collect::<Result<_>>()?, process))
}

#[test]
fn what_it_says_of_pods_is_true() -> Result<()> {
    Cluster::with(|cluster| {
        let (pods, _process) = pods(cluster)?;
        let permitted = role_arn("(cart|report)");
        let _agent = cluster.agent().set("--permitted-roles", &permitted).start()?;
        pods.first().context("a pod")?.wait_for_role("cart")?;
        let (_docker, container) = container(cluster, "docker0", 0)?;
        ensure!(container.udp("169.254.169.254:53", b"hello")?.failure.is_some());
        for name in ["refused", "refused-by-aws", "nothing", "way", "role", "docker"] {
            is_true(cluster, name)?;
        }
        let mut nft = cluster.node_place().command("nft")?;
        process::run(nft.args(["-f", "-"]), POLICY.as_bytes(), PATIENCE)?.ok()?;
        is_true(cluster, "cut-off")
    })
}

#[test]
fn what_it_says_of_agents_that_do_not_serve_is_true() -> Result<()> {
    Cluster::with(|cluster| {
        is_true(cluster, "no-agent")?;
        is_true(cluster, "usage")?;
        // The list of pods does not come.
        cluster.kubernetes.fail()?;
        let _agent = cluster.agent().spawn()?;
        is_true(cluster, "not-ready")?;
        is_true(cluster, "check")
    })
}

/// All of the sources below a directory.
fn sources(below: &Path) -> Result<String> {
    let mut text = String::new();
    for entry in fs::read_dir(below)? {
        let path = entry?.path();
        text += &if path.is_dir() { sources(&path)? } else { fs::read_to_string(&path)? };
    }
    Ok(text)
}

#[test]
fn what_agents_are_said_to_say_stands_in_their_sources() -> Result<()> {
    let sources = sources(&file("agent/src"))?;
    let mut said = 0;
    for page in [PAGE, "3am.md"] {
        let text = fs::read_to_string(file("docs").join(page))?;
        let tables = text.split("\n| it says |").skip(1);
        let rows = tables.flat_map(|table| table.lines().take_while(|line| !line.is_empty()));
        for row in rows.filter_map(|row| row.strip_prefix("| `")) {
            let (words, _) = row.split_once('`').context("no end")?;
            let parts = words.split('…').map(str::trim);
            let missing = parts.clone().find(|part| !sources.contains(part));
            ensure!(missing.is_none(), "{page}: no agent says {words:?}");
            said += 1;
        }
    }
    ensure!(said > 10, "{said}");
    Ok(())
}

#[test]
fn every_block_that_shows_an_output_is_tested() -> Result<()> {
    let here = include_str!("troubleshooting.rs");
    for block in blocks(PAGE)? {
        if let Some(name) = block.info.strip_prefix("console ") {
            ensure!(here.contains(&format!("\"{name}\"")), "{name} is not tested");
        }
    }
    Ok(())
}
