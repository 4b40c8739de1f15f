//! Where a node cannot attest, a pod is told by its address alone, if an operator says so.

use anyhow::{Context as _, Result};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::wait;

#[test]
fn a_pod_is_told_by_its_address_and_the_agent_says_how_weak_that_is() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let batch = cluster.pod("batch").role("batch").start()?;
        assert!(web.node_credentials()?.is_some());
        let mut agent = cluster.agent().set("--identity", "source-ip").start()?;
        web.credentials_of("web")?;
        batch.credentials_of("batch")?;
        agent.wait_for_log("--identity source-ip: pods are told apart")
    })
}

#[test]
fn an_address_that_two_running_pods_claim_is_neithers() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let address = web.address().context("a pod has addresses")?;
        let _agent = cluster.agent().set("--identity", "source-ip").start()?;
        web.credentials_of("web")?;
        cluster.pod("batch").role("batch").announce(address)?;
        wait::until_true("the address to be nobody's", || Ok(web.get(LIST)?.status == 503))?;
        assert_ne!(web.get(&format!("{LIST}web"))?.status, 200);
        assert_ne!(web.get(&format!("{LIST}batch"))?.status, 200);
        Ok(())
    })
}

#[test]
fn a_finished_pod_leaves_its_address_to_the_next() -> Result<()> {
    Cluster::with(|cluster| {
        let first = cluster.pod("first").role("first").start()?;
        let address = first.address().context("a pod has addresses")?;
        let _agent = cluster.agent().set("--identity", "source-ip").start()?;
        first.credentials_of("first")?;
        first.finish("Succeeded")?;
        let second = cluster.pod("second").role("second").address(address).start()?;
        second.wait_for_role("second")?;
        assert_ne!(second.get(&format!("{LIST}first"))?.status, 200);
        Ok(())
    })
}
