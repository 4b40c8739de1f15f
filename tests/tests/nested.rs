//! Containers inside of a pod have the pod's role, although what the proxy sees of them was rewritten on
//! the way; and nobody else has it by their port.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use podrole_tests::cluster::Cluster;
use podrole_tests::engine::{CONTAINER, Container};
use podrole_tests::hammer::Tally;
use podrole_tests::http::{Answer, LIST, METADATA, Request};
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::process;
use podrole_tests::vectors::attack::{Attack, Quirk, Report, Transport, Way};
use podrole_tests::vectors::held::Held;
use podrole_tests::wait::PATIENCE;

/// A source port that both sides use.
const PORT: u16 = 23_457;
const CONNECTIONS: u32 = 1000;
/// The proxy itself.
const PROXY: &str = "10.0.0.10:16925";

/// Asks for the role list, from this address and [`PORT`].
fn asking(from: Ipv4Addr, to: &str) -> Result<Attack> {
    let attack = Attack::new(Transport::Tcp, to.parse()?, Way::Connect);
    let attack = attack.bytes(Request::get(LIST).bytes());
    Ok(attack.quirk(Quirk::From(SocketAddr::from((from, PORT)))))
}

fn answer(held: Held) -> Result<Answer> {
    match held.report()? {
        Report::Ran(exchange) => Request::get(LIST)
            .answer(&exchange.answer())
            .with_context(|| format!("{:?}", exchange.failure)),
        Report::Missing(reason) => anyhow::bail!("{reason}"),
    }
}

fn v4(pod: &Pod<'_>) -> Result<Ipv4Addr> {
    Ok(pod.address().context("a pod has addresses")?.v4())
}

/// So many connections, some at a time.
fn repeat(place: &Place, times: u32) -> Result<Tally> {
    let mut command = place.command(process::own_binary("podrole-probe")?)?;
    command.args(["repeat", METADATA, "--times", &times.to_string()]);
    Ok(serde_json::from_str(&process::run(&mut command, b"", PATIENCE)?.ok()?)?)
}

#[test]
fn a_container_inside_of_a_pod_has_the_pods_role() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("outer").role("outer").start()?;
        let container = Container::start(&pod)?;
        assert!(container.place().node_credentials()?.is_some());
        let _agent = cluster.agent().start()?;
        let tally = repeat(container.place(), CONNECTIONS)?;
        println!("{tally:?}");
        assert_eq!(tally.served("outer"), u64::from(CONNECTIONS), "{tally:?}");
        container.place().credentials_of("outer")?;
        pod.wait_for_role("outer")
    })
}

#[test]
fn a_container_is_not_the_pod_that_holds_its_port() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("outer").role("outer").start()?;
        let forger = cluster.pod("forger").role("forger").start()?;
        let container = Container::start(&pod)?;
        assert!(container.place().node_credentials()?.is_some());
        let agent = cluster.agent().start()?;
        for first in [true, false] {
            agent.pause()?;
            let hold_forger = || cluster.hold(&forger, &asking(v4(&forger)?, METADATA)?);
            let hold_inner = || cluster.hold(container.place(), &asking(CONTAINER, METADATA)?);
            let (theirs, inner) = if first {
                let theirs = hold_forger()?;
                (theirs, hold_inner()?)
            } else {
                let inner = hold_inner()?;
                (hold_forger()?, inner)
            };
            agent.resume()?;
            for (held, role) in [(theirs, "forger"), (inner, "outer")] {
                let answer = answer(held)?;
                assert_eq!((answer.status, answer.body.as_str()), (200, role));
            }
        }
        Ok(())
    })
}

#[test]
fn what_comes_from_a_pods_address_is_not_the_pod_that_holds_its_port() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("outer").role("outer").start()?;
        let forger = cluster.pod("forger").role("forger").start()?;
        ensure!(pod.node_credentials()?.is_some());
        let agent = cluster.agent().start()?;
        let stranger = Place { cgroup: cluster.node_place().cgroup, ..Place::clone(&pod) };
        agent.pause()?;
        let theirs = cluster.hold(&forger, &asking(v4(&forger)?, METADATA)?)?;
        let strange = cluster.hold(&stranger, &asking(v4(&pod)?, PROXY)?)?;
        agent.resume()?;
        let strange = answer(strange)?;
        assert_eq!(strange.status, 403, "{strange:?}");
        let theirs = answer(theirs)?;
        assert_eq!((theirs.status, theirs.body.as_str()), (200, "forger"));
        Ok(())
    })
}
