//! The agent runs with the rights that it needs and no more, and gives up what else it was given.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent::Agent;
use podrole_tests::cluster::Cluster;
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;

/// `CAP_DAC_READ_SEARCH`, `CAP_NET_ADMIN` and `CAP_BPF` (capabilities(7), `linux/capability.h`).
const NEEDED: u64 = (1 << 2) | (1 << 12) | (1 << 39);
/// As a container of just these.
const AS_CONTAINER: [&str; 3] =
    ["setpriv", "--bounding-set=-all,+dac_read_search,+net_admin,+bpf", "--inh-caps=-all"];

/// Of each thread, the sets of capabilities and whether it can gain any (proc(5)).
fn rights(agent: &Agent) -> Result<Vec<[u64; 5]>> {
    const FIELDS: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:"];
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", agent.id()))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(u64::from_str_radix(value.context(name.to_owned())?.trim(), 16)?)
        };
        let fields = FIELDS.map(field).into_iter().collect::<Result<Vec<_>>>()?;
        all.push(fields.try_into().ok().context("five fields")?);
    }
    ensure!(all.len() > 2, "the runtime has threads: {all:x?}");
    Ok(all)
}

/// `permitted` beside what is needed: unused.
fn check(agent: &Agent, permitted: u64) -> Result<()> {
    let all = NEEDED | permitted;
    for rights in rights(agent)? {
        ensure!(rights == [0, all, NEEDED, all, 1], "{rights:x?}");
    }
    Ok(())
}

#[test]
fn a_privileged_agent_gives_up_what_it_does_not_need() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        ensure!(pod.node_credentials()?.is_some(), "without podrole");
        let agent = cluster.agent().start()?;
        pod.wait_for_role("web")?;
        // CAP_SYS_ADMIN, to mount the BPF file system again.
        check(&agent, 1 << 21)
    })
}

#[test]
fn these_capabilities_are_enough() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        ensure!(pod.node_credentials()?.is_some(), "without podrole");
        let agent = cluster.agent().under(&AS_CONTAINER).start()?;
        pod.wait_for_role("web")?;
        check(&agent, 0)
    })
}

/// A container of just these capabilities with the runtime's own seccomp profile.
fn confined() -> Result<Vec<String>> {
    let confined = process::own_binary("podrole-confined")?.display().to_string();
    Ok(AS_CONTAINER.into_iter().map(str::to_owned).chain([confined]).collect())
}

#[test]
fn the_runtimes_seccomp_profile_leaves_enough() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let host = cluster.pod("host").host_network().start()?;
        ensure!(pod.node_credentials()?.is_some(), "without podrole");
        let confined = confined()?;
        let confined: Vec<_> = confined.iter().map(String::as_str).collect();
        let mut agent = cluster.agent().under(&confined).start()?;
        agent.wait_for_log("it runs in the node's")?;
        pod.wait_for_role("web")?;
        ensure!(host.node_credentials()?.is_some(), "the mark is of the self-test alone");
        check(&agent, 0)?;
        // It takes over and hands over as any other.
        let mut next = cluster.agent().under(&confined).spawn()?;
        next.wait_until_on_duty()?;
        agent.kill()?;
        pod.wait_for_role("web")
    })
}

#[test]
fn the_self_test_of_a_confined_agent_can_fail() -> Result<()> {
    const THIEF: &str = "10.0.0.10:9999";
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let nft = |rules: &str| -> Result<()> {
            let mut command = node.command("nft")?;
            process::run(command.args(["-f", "-"]), rules.as_bytes(), PATIENCE)?.ok()?;
            Ok(())
        };
        let _thief = cluster.squat(THIEF)?;
        // The node's own packets pass this chain, those of pods do not.
        nft(&format!(
            "table ip thief {{ chain output {{
                type nat hook output priority -100; policy accept;
                ip daddr 10.0.0.10 tcp dport 16925 dnat to {THIEF};
            }} ; }}"
        ))?;
        let confined = confined()?;
        let confined: Vec<_> = confined.iter().map(String::as_str).collect();
        let mut agent = cluster.agent().under(&confined).spawn()?;
        agent.wait_for_log("a connection to 169.254.169.254: ")?;
        ensure!(!cluster.ask(&["ready"])?.status.success());
        nft("delete table ip thief")?;
        agent.wait_until_ready()
    })
}
