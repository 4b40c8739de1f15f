//! A connection stays that of the pod whose socket it is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use podrole_tests::bpf;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::process::{self, Process};
use podrole_tests::vectors::attack::{Attack, Kind, Origin, Quirk, Transport};

use super::{answer, asking, has_leak, send};

/// A source port that nothing else uses.
const PORT: u16 = 23_456;
/// How often each pod asks while the records are full.
const TRIES: usize = 100;

fn two_pods(cluster: &Cluster) -> Result<[Pod<'_>; 2]> {
    let pods = [cluster.pod("one").role("one").start()?, cluster.pod("two").role("two").start()?];
    assert!(has_leak(&pods[0])? && has_leak(&pods[1])?);
    Ok(pods)
}

fn is_role(pod: &Pod<'_>, name: &str) -> Result<()> {
    let answer = pod.get(LIST)?;
    assert_eq!((answer.status, answer.body.as_str()), (200, name));
    Ok(())
}

#[test]
fn a_connection_whose_process_moves_to_another_pods_cgroup_stays_its_own() -> Result<()> {
    Cluster::with(|cluster| {
        let [one, two] = two_pods(cluster)?;
        let _agent = cluster.agent().start()?;
        is_role(&one, "one")?;
        let held = cluster.hold(&one, &asking()?)?;
        held.move_to(&two.cgroup)?;
        let answer = answer(&held.report()?)?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "one"));
        Ok(())
    })
}

#[test]
fn a_socket_counts_by_where_it_was_made() -> Result<()> {
    Cluster::with(|cluster| {
        let [one, two] = two_pods(cluster)?;
        let _agent = cluster.agent().start()?;
        is_role(&one, "one")?;
        let moved = asking()?.quirk(Quirk::MoveTo(two.cgroup.clone()));
        assert_eq!(send(&one, &moved)?.body, "one");

        // Moved first, it is the other's socket with this one's address.
        let inside = Place { cgroup: two.cgroup.clone(), ..Place::clone(&one) };
        let answer = send(&inside, &asking()?)?;
        assert_eq!(answer.status, 403, "{answer:?}");
        Ok(())
    })
}

/// A process of `giver` makes a socket, which the process of an attack then uses.
fn pass(cluster: &Cluster, giver: &Place, attack: &mut Attack) -> Result<Process> {
    let path = cluster.directory().join("passed");
    let kind = Kind { v6: false, transport: Transport::Tcp };
    attack.origin = Origin::PassedAt(path.clone());
    let mut command = giver.command(process::own_binary("podrole-vectors")?)?;
    command.arg("give").arg(serde_json::to_string(&kind)?).arg(path);
    let log = cluster.directory().join("giver.log");
    let mut process = Process::spawn("the maker of a socket", &mut command, &log)?;
    process.wait_for_lines("listening at", 1)?;
    Ok(process)
}

#[test]
fn a_socket_that_is_passed_to_another_pod_is_its_makers() -> Result<()> {
    Cluster::with(|cluster| {
        let [one, two] = two_pods(cluster)?;
        let _agent = cluster.agent().start()?;
        let mut attack = asking()?;
        let _giver = pass(cluster, &one, &mut attack)?;
        let answer = send(&two, &attack)?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "one"));
        is_role(&two, "two")
    })
}

#[test]
fn a_connection_that_no_agent_has_accepted_is_answered_by_no_later_one() -> Result<()> {
    Cluster::with(|cluster| {
        let [one, _] = two_pods(cluster)?;
        let agent = cluster.agent().start()?;
        is_role(&one, "one")?;
        agent.pause()?;
        let own = one.address().context("a pod has addresses")?;
        let from = |pod: std::net::Ipv4Addr| Quirk::From(SocketAddr::from((pod, PORT)));
        let held = cluster.hold(&one, &asking()?.quirk(from(own.v4())))?;
        agent.kill()?;
        let _agent = cluster.agent().start()?;
        assert!(answer(&held.report()?).is_err(), "it was answered");

        // What is left of it counts for nobody who has the same address and port.
        one.delete()?;
        let next = cluster.pod("next").role("next").address(own).unreported().start()?;
        let answer = send(&next, &asking()?.quirk(from(own.v4())))?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "next"));
        Ok(())
    })
}

/// Asks again and again, and gives how often it was served and how often refused.
fn tally(pod: &Pod<'_>) -> Result<(usize, usize)> {
    let mut tally = (0, 0);
    for _ in 0..TRIES {
        let answer = pod.get(LIST)?;
        if answer.status == 200 {
            assert_eq!(answer.body, pod.name);
            tally.0 += 1;
        } else {
            assert_eq!(answer.status, 403, "{answer:?}");
            tally.1 += 1;
        }
    }
    Ok(tally)
}

#[test]
fn full_records_make_nobody_another_pod() -> Result<()> {
    Cluster::with(|cluster| {
        let pods = two_pods(cluster)?;
        let _agent = cluster.agent().start()?;
        let pin = cluster.bpf_fs.pins()?.into_iter().find(|pin| pin.ends_with("RECORDS"));
        let pin = pin.context("the records are pinned")?;
        let stop = AtomicBool::new(false);
        thread::scope(|scope| -> Result<()> {
            let flood = scope.spawn(|| bpf::flood_records(&pin, &stop));
            let tallies = pods.iter().map(tally).collect::<Result<Vec<_>>>();
            stop.store(true, Ordering::Relaxed);
            let written = flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
            println!("{written} records beside: (served, refused) {:?}", tallies?);
            assert!(written > 65_536, "{written}");
            Ok(())
        })?;
        for pod in &pods {
            is_role(pod, &pod.name)?;
        }
        Ok(())
    })
}
