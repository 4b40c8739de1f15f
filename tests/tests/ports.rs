//! podrole's ports are the agent's: no pod takes them, and nobody gets credentials there who would not
//! get them by the metadata address.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::bpf;
use podrole_tests::cluster::{Cluster, NODE_ADDRESSES};
use podrole_tests::http::{Answer, LIST, METADATA, Request};
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::process;
use podrole_tests::vectors::attack::Spelling;
use podrole_tests::vectors::attack::{Attack, Kind, Quirk, Report, To, Transport, Way};
use podrole_tests::vectors::packet;
use podrole_tests::wait::PATIENCE;

/// Where nobody listens, on podrole's ports.
const FREE: [&str; 4] = ["127.0.0.1:16925", "[::1]:16925", "127.0.0.1:16926", "0.0.0.0:16925"];
const PROXY: &str = "10.0.0.10:16925";

/// Whether a process there can listen, and that it is refused where it cannot.
fn can_listen(cluster: &Cluster, place: &Place, address: &str) -> Result<bool> {
    match cluster.echo_at(place, &[(address, false)]) {
        Ok(_) => Ok(true),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains("Operation not permitted"), "{address}: {said}");
            Ok(false)
        }
    }
}

#[test]
fn a_pod_on_the_nodes_network_cannot_take_podroles_ports() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let host = cluster.pod("host").host_network().start()?;
        for address in FREE {
            assert!(can_listen(cluster, &host, address)?, "{address} without podrole");
        }
        // The probes' port by one address, so that the others are free.
        let agent = cluster.agent().set("--admin-listen", "10.0.0.10:16926").start()?;
        pod.wait_for_role("web")?;
        let refused = |when: &str| -> Result<()> {
            for address in FREE {
                assert!(!can_listen(cluster, &host, address)?, "{address} {when}");
            }
            assert!(can_listen(cluster, &host, "127.0.0.1:16927")?, "another port {when}");
            Ok(())
        };
        refused("with an agent")?;
        agent.kill()?;
        refused("with its agent dead")?;
        assert!(!can_listen(cluster, &host, PROXY)?, "{PROXY} with its agent dead");
        Ok(())
    })
}

#[test]
fn a_pod_on_its_own_network_and_the_node_have_all_ports() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let _agent = cluster.agent().set("--admin-listen", "10.0.0.10:16926").start()?;
        for address in FREE {
            assert!(can_listen(cluster, &pod, address)?, "a pod at {address}");
        }
        assert!(can_listen(cluster, &cluster.node_place(), "127.0.0.1:16925")?, "the node");
        Ok(())
    })
}

#[test]
fn an_agent_in_a_pod_has_its_ports_and_its_successor_too() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let home = |name| cluster.pod(name).namespace("podrole").host_network().start();
        let (first, second) = (home("podrole-first")?, home("podrole-second")?);
        cluster.agent().in_pod(&first).start()?.kill()?;
        let agent = cluster.agent().in_pod(&first).start().context("once more in its pod")?;
        pod.wait_for_role("web")?;
        agent.kill()?;
        let _agent = cluster.agent().in_pod(&second).start().context("in a pod of its own")?;
        pod.wait_for_role("web")?;
        assert!(!can_listen(cluster, &first, FREE[0])?, "the pod of the agent that is gone");
        assert!(can_listen(cluster, &second, FREE[0])?, "the pod of the agent that runs");
        Ok(())
    })
}

fn ask(place: &Place, host: &str) -> Result<Answer> {
    let request = format!("GET {LIST} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let exchange = place.tcp(PROXY, request.as_bytes())?;
    Ok(Answer::read(&exchange.answer(), true).with_context(|| format!("{exchange:?}"))?.0)
}

#[test]
fn the_proxys_port_serves_pods_sockets_alone_and_by_no_other_name() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let host = cluster.pod("host").host_network().start()?;
        let _agent = cluster.agent().start()?;
        pod.wait_for_role("web")?;
        let answer = ask(&pod, "169.254.169.254")?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "web"));
        assert_eq!(ask(&pod, PROXY)?.status, 403);

        let stranger = Place { cgroup: cluster.node_place().cgroup, ..Place::clone(&pod) };
        let others: [(&str, &Place); 4] = [
            ("a process of the node", &cluster.node_place()),
            ("another node", &cluster.outside_place()),
            ("a socket from outside of the pod", &stranger),
            ("a pod on the node's network", &host),
        ];
        for (who, place) in others {
            for path in [LIST.to_owned(), format!("{LIST}web")] {
                let answer = place.ask_at(PROXY, &Request::get(&path))?;
                assert!([403, 404].contains(&answer.status), "{who} to {path}: {answer:?}");
            }
        }
        Ok(())
    })
}

/// The ways to send a SYN that no TCP socket stands behind.
fn forged(pod: &Pod<'_>) -> Result<[Attack; 2]> {
    let from = pod.address().context("a pod has addresses")?.v4();
    let node = NODE_ADDRESSES[0].parse()?;
    let syn = packet::syn(from.into(), node, 16925);
    let whole = packet::ip(from.into(), node, packet::TCP, &syn);
    let kind = Kind { v6: false, transport: Transport::Raw(packet::TCP) };
    let to = To { address: (node, 0).into(), spelling: Spelling::Plain };
    Ok([
        Attack::made(kind, Way::SendTo(to)).bytes(syn),
        Attack::made(kind, Way::SendTo(to)).quirk(Quirk::HeaderIncluded).bytes(whole),
    ])
}

#[test]
fn a_forged_syn_leaves_no_word_of_who_sent_it() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        // Records stay where no agent takes them.
        cluster.agent().start()?.kill()?;
        let records = || bpf::entries::<20>(&cluster.bpf_fs.pin("RECORDS")?);
        let before = records()?;
        assert!(pod.is_refused(METADATA)?);
        assert_eq!(records()?, before + 1, "a true connection");
        for attack in forged(&pod)? {
            let mut command = pod.command(process::own_binary("podrole-vectors")?)?;
            command.arg("attack").arg(serde_json::to_string(&attack)?);
            let report = process::run(&mut command, b"", PATIENCE)?.ok()?;
            let Report::Ran(exchange) = serde_json::from_str(&report)? else {
                anyhow::bail!("cannot be tried here: {report}")
            };
            assert_eq!(exchange.failure, None, "{attack:?}");
            assert_eq!(records()?, before + 1, "{attack:?}");
        }
        Ok(())
    })
}
