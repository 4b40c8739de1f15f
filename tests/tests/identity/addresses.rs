//! An address alone makes nobody another pod.

use anyhow::{Context as _, Result};
use podrole_tests::agent::Agent;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::place::Place;
use podrole_tests::pod::{Address, Pod};
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;

use super::{asking, asking_at, has_leak, hold_watches, send, with_lag};

/// How often is asked where an answer could be a wrong one.
const TRIES: usize = 5;
/// The other way in.
const METADATA_V6: &str = "[fd00:ec2::254]:80";

/// A pod that is served.
fn first(cluster: &Cluster) -> Result<(Pod<'_>, Agent, Address)> {
    let first = cluster.pod("first").role("first").start()?;
    assert!(has_leak(&first)?);
    let agent = cluster.agent().start()?;
    first.credentials_of("first")?;
    let address = first.address().context("a pod has addresses")?;
    Ok((first, agent, address))
}

#[test]
fn a_pod_is_not_the_one_that_had_its_address_while_the_watch_is_behind() -> Result<()> {
    with_lag(|cluster| {
        let (first, _agent, address) = first(cluster)?;
        hold_watches(cluster, true)?;
        first.delete()?;
        let second = cluster.pod("second").role("second").address(address).start()?;
        for _ in 0..TRIES {
            let answer = second.get(LIST)?;
            assert_ne!(answer.body, "first");
            assert_ne!(second.get(&format!("{LIST}first"))?.status, 200);
        }
        // Lists are not behind.
        second.wait_for_role("second")?;
        hold_watches(cluster, false)?;
        second.wait_for_role("second")
    })
}

#[test]
fn a_pod_is_not_the_one_that_gets_its_address_while_the_watch_is_ahead() -> Result<()> {
    Cluster::with(|cluster| {
        let (first, _agent, address) = first(cluster)?;
        cluster.kubernetes.delete_pod(&first.namespace, &first.name)?;
        cluster.pod("second").role("second").announce(address)?;
        // Whoever knows of this one knows of that.
        cluster.pod("marker").role("marker").start()?.wait_for_role("marker")?;
        for _ in 0..TRIES {
            assert_ne!(first.get(LIST)?.body, "second");
            assert_ne!(first.get(&format!("{LIST}second"))?.status, 200);
        }
        Ok(())
    })
}

#[test]
fn an_address_that_is_used_again_within_a_second_takes_nothing_with_it() -> Result<()> {
    Cluster::with(|cluster| {
        let (first, _agent, address) = first(cluster)?;
        let mut before = first;
        for name in ["second", "third", "fourth"] {
            let gone = before.name.clone();
            before.delete()?;
            let next = cluster.pod(name).role(name).address(address).unreported().start()?;
            let answer = next.get(LIST)?;
            assert_eq!((answer.status, answer.body.as_str()), (200, name), "after {gone}");
            next.report("Running")?;
            assert_eq!(next.get(&format!("{LIST}{gone}"))?.status, 404);
            before = next;
        }
        Ok(())
    })
}

/// The node sends what is for the victim to the thief, as a bridge that believed its ARP would.
fn steal(cluster: &Cluster, thief: &Pod<'_>, victim: Address) -> Result<()> {
    let interface = thief.interface().context("the thief has a veth")?;
    let (v4, v6) = (victim.v4(), victim.v6());
    thief.ip(&format!("address add {v4}/32 dev eth0\naddress add {v6}/128 dev eth0 nodad\n"))?;
    let number = thief.address().context("the thief has addresses")?;
    let node = cluster.node_place();
    node.ip(&format!(
        "\
        route replace {v4}/32 via {} dev {interface} onlink\n\
        route replace {v6}/128 via {} dev {interface} onlink\n",
        number.v4(),
        number.v6()
    ))
}

#[test]
fn a_pod_that_takes_anothers_address_is_refused() -> Result<()> {
    Cluster::with(|cluster| {
        let (victim, mut agent, address) = first(cluster)?;
        let thief = cluster.pod("thief").role("thief").start()?;
        thief.wait_for_role("thief")?;
        steal(cluster, &thief, address)?;
        for attack in [asking()?.from(address.v4()), asking_at(METADATA_V6)?.from(address.v6())] {
            let answer = send(&thief, &attack)?;
            assert_eq!(answer.status, 403, "{answer:?}");
        }
        agent.wait_for_log("spoof")?;
        // With its own address it is who it was.
        thief.wait_for_role("thief")?;
        drop(victim);
        Ok(())
    })
}

#[test]
fn a_pod_that_rewrites_its_source_to_anothers_address_is_refused() -> Result<()> {
    Cluster::with(|cluster| {
        let (victim, _agent, address) = first(cluster)?;
        let thief = cluster.pod("thief").role("thief").start()?;
        thief.wait_for_role("thief")?;
        steal(cluster, &thief, address)?;
        let rules = format!(
            "table ip own {{ chain out {{ type nat hook postrouting priority 100; \
             tcp dport 16925 snat to {}; }}\n}}\n",
            address.v4()
        );
        let mut command = thief.command("nft")?;
        process::run(command.args(["-f", "-"]), rules.as_bytes(), PATIENCE)?.ok()?;
        let answer = thief.get(LIST)?;
        assert_eq!(answer.status, 403, "{answer:?}");
        drop(victim);
        Ok(())
    })
}

#[test]
fn a_process_of_one_pod_in_the_network_of_another_is_refused() -> Result<()> {
    Cluster::with(|cluster| {
        let (victim, _agent, _) = first(cluster)?;
        let thief = cluster.pod("thief").role("thief").start()?;
        let inside = Place { cgroup: thief.cgroup.clone(), ..Place::clone(&victim) };
        let answer = inside.get(LIST)?;
        assert_eq!(answer.status, 403, "{answer:?}");
        victim.wait_for_role("first")
    })
}

#[test]
fn a_pod_that_is_known_by_ipv6_alone_is_served_over_ipv4() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("six").role("six").only_v6().start()?;
        assert!(pod.ask_at(METADATA_V6, &podrole_tests::http::Request::get(LIST))?.status == 200);
        let _agent = cluster.agent().start()?;
        pod.wait_for_role("six")?;
        pod.credentials_of("six")?;
        let answer = pod.ask_at(METADATA_V6, &podrole_tests::http::Request::get(LIST))?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "six"));
        Ok(())
    })
}
