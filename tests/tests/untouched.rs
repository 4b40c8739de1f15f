//! What podrole has no business with goes on as before: the node, the agent itself, and all of the pods'
//! traffic but that to the metadata service.

use anyhow::{Context as _, Result};
use podrole_tests::cluster::{BYSTANDERS, Cluster, OTHER_PORTS};
use podrole_tests::http::{LIST, Request};
use podrole_tests::place::Place;
use podrole_tests::pretend::node;
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;

const WAYS: [&str; 3] = ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fd00:ec2::254]:80"];

/// Where a node-local DNS cache listens on every node. True marks UDP.
const NODE_LOCAL_DNS: [(&str, bool); 2] = [("169.254.20.10:53", false), ("169.254.20.10:53", true)];

const LARGE: u64 = 50_000_000;

/// Tries addresses without podrole and with it: all must be reached.
fn always_reached(cluster: &Cluster, place: &Place, addresses: &[(&str, bool)]) -> Result<()> {
    let check = |when: &str| -> Result<()> {
        for (address, udp) in addresses {
            let reached = place.reaches_bystander(address.parse()?, *udp)?;
            assert!(reached, "{address} (UDP: {udp}) {when}");
        }
        Ok(())
    };
    check("without podrole")?;
    let agent = cluster.agent().start()?;
    check("with podrole")?;
    agent.kill()?;
    check("with podrole's agent dead")?;
    cluster.detach()
}

fn has_the_real_service(place: &Place, who: &str) -> Result<()> {
    for way in WAYS {
        let role = place.ask_at(way, &Request::get(LIST))?.body;
        assert_eq!(role, node::ROLE, "{who} by {way}");
    }
    for (address, udp) in OTHER_PORTS {
        let reached = place.reaches_bystander(address.parse()?, udp)?;
        assert!(reached, "{who} to {address} (UDP: {udp})");
    }
    Ok(())
}

#[test]
fn pods_reach_everything_but_the_metadata_service() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        always_reached(cluster, &pod, &BYSTANDERS)
    })
}

#[test]
fn pods_reach_link_local_addresses_of_their_node() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let mut ip = node.command("ip")?;
        ip.args(["address", "add", "169.254.20.10/32", "dev", "lo"]);
        process::run(&mut ip, b"", PATIENCE)?.ok()?;
        let _dns = cluster.echo_at(&node, &NODE_LOCAL_DNS)?;
        let pod = cluster.pod("web").role("web").start()?;
        always_reached(cluster, &pod, &NODE_LOCAL_DNS)
    })
}

#[test]
fn pods_reach_each_other_and_the_node() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let other = cluster.pod("other").start()?;
        let address = other.address().context("a pod has addresses")?;
        let (v4, v6) = (format!("{}:8080", address.v4()), format!("[{}]:8080", address.v6()));
        let pods: [(&str, bool); 4] = [(&v4, false), (&v4, true), (&v6, false), (&v6, true)];
        let nodes =
            [("10.0.0.10:8080", false), ("10.0.0.10:8080", true), ("[fd00:a::10]:80", false)];
        let _of_pod = cluster.echo_at(&other, &pods)?;
        let _of_node = cluster.echo_at(&cluster.node_place(), &nodes)?;
        always_reached(cluster, &pod, &[pods.as_slice(), &nodes].concat())?;
        always_reached(cluster, &cluster.node_place(), &pods)
    })
}

#[test]
fn large_transfers_arrive_whole() -> Result<()> {
    const MIRRORS: [&str; 2] = ["10.0.0.1:7", "[fd00:a::1]:7"];
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let outside = cluster.outside_place();
        let _mirrors = MIRRORS.map(|address| cluster.mirror_at(&outside, address));
        let _agent = cluster.agent().start()?;
        for address in MIRRORS {
            assert_eq!(pod.transfer(address, LARGE)?, LARGE, "{address}");
        }
        Ok(())
    })
}

#[test]
fn other_ports_and_datagrams_to_the_metadata_service_are_refused_to_pods() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        for (address, udp) in OTHER_PORTS {
            let reached = pod.reaches_bystander(address.parse()?, udp)?;
            assert!(reached, "{address} (UDP: {udp}) without podrole");
        }
        let _agent = cluster.agent().start()?;
        for (address, udp) in OTHER_PORTS {
            let exchange = if udp { pod.udp(address, b"hello")? } else { pod.tcp(address, b"")? };
            let errno = exchange.failure.map(|failure| failure.errno);
            assert_eq!(errno, Some(libc::ECONNREFUSED), "{address} (UDP: {udp}): {exchange:?}");
        }
        Ok(())
    })
}

#[test]
fn the_node_and_its_host_network_pods_keep_the_whole_metadata_service() -> Result<()> {
    Cluster::with(|cluster| {
        let host = cluster.pod("host").role("host").host_network().start()?;
        let agent = cluster.agent().start()?;
        has_the_real_service(&cluster.node_place(), "the node")?;
        has_the_real_service(&host, "a hostNetwork pod")?;
        agent.kill()?;
        has_the_real_service(&cluster.node_place(), "the node, the agent dead,")?;
        has_the_real_service(&host, "a hostNetwork pod, the agent dead,")
    })
}

#[test]
fn an_agent_in_a_pod_keeps_the_whole_metadata_service() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let home = cluster.pod("podrole-abcde").namespace("podrole").host_network().start()?;
        let _agent = cluster.agent().in_pod(&home).start()?;
        has_the_real_service(&home, "the agent")?;
        assert_eq!(pod.listed_role()?.as_deref(), Some("web"));
        Ok(())
    })
}
