//! The agent may be there before everything that it needs: it waits, says for what, and goes on.

use anyhow::Result;
use podrole_tests::cluster::Cluster;
use podrole_tests::wait;

#[test]
fn an_agent_that_is_there_before_aws_and_the_api_server_serves_when_they_come() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        cluster.kubernetes.fail()?;
        cluster.metadata.pause()?;
        cluster.sts.pause()?;
        // So that the metadata service is asked for it.
        let mut agent = cluster.agent().without_env("AWS_REGION").spawn()?;
        agent.wait_for_log("until a region is found")?;
        cluster.metadata.resume()?;
        agent.wait_for_log("a process in the pods' cgroup is served and guarded")?;
        cluster.kubernetes.recover()?;
        agent.wait_for_log("this node's pods are known")?;
        cluster.sts.resume()?;
        // Only then: ready means that the pod's session is there.
        agent.wait_until_ready()?;
        web.credentials_of("web")?;
        Ok(())
    })
}

#[test]
fn an_agent_that_is_there_before_the_network_serves_when_it_comes() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let node = cluster.node_place();
        node.ip("route del default via 10.0.0.1\n")?;
        let mut agent = cluster.agent().without("--listen").spawn()?;
        agent.wait_for_log("waiting for the network")?;
        node.ip("route add default via 10.0.0.1\n")?;
        agent.wait_until_ready()?;
        web.wait_for_role("web")
    })
}

#[test]
fn an_agent_that_waits_can_be_stopped() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.node_place().ip("route del default via 10.0.0.1\n")?;
        let mut agent = cluster.agent().without("--listen").spawn()?;
        agent.wait_for_log("waiting for the network")?;
        agent.terminate()?;
        assert!(agent.wait(wait::PATIENCE)?.success());
        Ok(())
    })
}
