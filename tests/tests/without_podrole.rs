//! The pretend node without podrole: every pod reaches the node's credentials, by every way and with
//! every client. What the other tests show to be closed is open here.

use std::thread;

use anyhow::{Context as _, Result, anyhow};
use podrole_tests::clients;
use podrole_tests::cluster::{BYSTANDERS, Cluster, OTHER_PORTS};
use podrole_tests::http::{LIST, Request, TOKEN_HEADER};
use podrole_tests::kubelet::Quality;
use podrole_tests::pretend::node;

#[test]
fn every_client_in_a_pod_is_the_node() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        for client in clients::FEW {
            let found = pod.credentials_by(client)?.context(client.name)?;
            assert!(found.access_key_id.starts_with("ASIANODE"), "{}", client.name);
            assert!(found.token.contains(node::LEAK_MARKER), "{}", client.name);
        }
        let identity = pod.caller_identity_by_aws_cli()?;
        assert_eq!(identity.as_deref(), Some(node::ARN));
        Ok(())
    })
}

#[test]
fn every_kind_of_pod_reaches_the_real_service_by_every_way() -> Result<()> {
    Cluster::with(|cluster| {
        let burstable = cluster.pod("burstable").start()?;
        let best_effort = cluster.pod("best-effort").quality(Quality::BestEffort).start()?;
        let host = cluster.pod("host").host_network().start()?;
        for place in [&*burstable, &*best_effort, &*host, &cluster.node_place()] {
            for way in ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fd00:ec2::254]:80"] {
                assert_eq!(place.ask_at(way, &Request::get(LIST))?.body, node::ROLE, "{way}");
            }
            let token = place.token()?;
            let answer = place.ask(&Request::get(LIST).header(TOKEN_HEADER, &token))?;
            assert_eq!(answer.body, node::ROLE);
            assert!(place.node_credentials()?.is_some());
        }
        for (address, udp) in BYSTANDERS.into_iter().chain(OTHER_PORTS) {
            assert!(burstable.reaches_bystander(address.parse()?, udp)?, "{address}, UDP: {udp}");
        }
        let own = burstable.address().context("a pod has addresses")?;
        let peers: Vec<_> =
            cluster.metadata.requests()?.into_iter().map(|request| request.peer.ip()).collect();
        assert!(peers.contains(&own.v4().into()) && peers.contains(&own.v6().into()), "{peers:?}");
        Ok(())
    })
}

#[test]
fn an_address_can_be_used_again_at_once() -> Result<()> {
    Cluster::with(|cluster| {
        let first = cluster.pod("first").start()?;
        let address = first.address().context("a pod has addresses")?;
        first.finish("Succeeded")?;
        let second = cluster.pod("second").address(address).start()?;
        assert!(second.node_credentials()?.is_some());
        second.delete()?;
        let third = cluster.pod("second").address(address).start()?;
        assert!(third.node_credentials()?.is_some());
        Ok(())
    })
}

#[test]
fn clusters_side_by_side_do_not_meet() -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    Cluster::with(|cluster| {
                        let pod = cluster.pod("same-name").start()?;
                        assert!(pod.node_credentials()?.is_some());
                        assert_eq!(cluster.metadata.requests_of_pods()?, 1);
                        Ok(())
                    })
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("a cluster's thread panicked"))?
        })
    })
}
