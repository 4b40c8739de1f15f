//! One podrole to a node: a second one with other directories says so and stops, and does no harm.

use std::fs;

use anyhow::{Result, ensure};
use podrole_tests::bpffs;
use podrole_tests::cluster::Cluster;

#[test]
fn a_second_agent_with_other_directories_stops_and_does_no_harm() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let agents_pod = cluster.pod("podrole").host_network().start()?;
        ensure!(pod.node_credentials()?.is_some(), "without podrole");
        let mut agent = cluster.agent().in_pod(&agents_pod).start()?;
        pod.wait_for_role("web")?;
        for (flag, name) in [("--bpf-fs", "other-bpf"), ("--state-dir", "other-state")] {
            let other = cluster.directory().join(name);
            fs::create_dir(&other)?;
            let second = cluster
                .agent()
                .set(flag, &other.display().to_string())
                .set("--listen", "10.0.0.10:17925")
                .set("--admin-listen", "10.0.0.10:17926")
                .run()?;
            let said = format!("{}{}", second.text(), second.stderr);
            ensure!(second.status.code() == Some(1), "{flag}: {}: {said}", second.status);
            ensure!(said.contains("another podrole") && said.contains(flag), "{flag}: {said}");
            agent.wait_until_ready()?;
            pod.wait_for_role("web")?;
        }
        // Mounted by the second, which is another BPF file system.
        bpffs::unmount(&cluster.directory().join("other-bpf"))
    })
}

#[test]
fn an_agent_that_is_gone_is_no_other() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let agent = cluster.agent().start()?;
        agent.kill()?;
        cluster.detach()?;
        let other = cluster.directory().join("other-state");
        let _agent = cluster.agent().set("--state-dir", &other.display().to_string()).start()?;
        pod.wait_for_role("web")
    })
}
