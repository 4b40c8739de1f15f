//! A pod's connections to the metadata service end at podrole, whatever becomes of the agent; nothing
//! else changes for anybody.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use podrole_tests::agent::Agent;
use podrole_tests::bpffs;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{LIST, Request, TOKEN_HEADER};
use podrole_tests::place::Place;
use podrole_tests::pretend::node;

/// The metadata service as IPv4, as Java writes it (IPv4-mapped), and as IPv6.
const WAYS: [&str; 3] = ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fd00:ec2::254]:80"];

fn role_by(place: &Place, way: &str) -> Result<String> {
    Ok(place.ask_at(way, &Request::get(LIST))?.body)
}

fn stop(mut agent: Agent) -> Result<()> {
    agent.terminate()?;
    let status = agent.wait(Duration::from_secs(15))?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[test]
fn every_way_to_the_metadata_service_is_redirected() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        for way in WAYS {
            assert_eq!(role_by(&pod, way)?, node::ROLE, "{way}, without podrole");
        }
        let _agent = cluster.agent().start()?;
        let leaks = cluster.metadata.requests_of_pods()?;
        for way in WAYS {
            assert_eq!(role_by(&pod, way)?, "web", "{way}");
        }
        assert_eq!(cluster.metadata.requests_of_pods()?, leaks);
        Ok(())
    })
}

#[test]
fn a_redirected_socket_shows_the_address_that_was_asked_for() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let own = pod.address().context("a pod has addresses")?;
        let locals: [IpAddr; 3] =
            [own.v4().into(), own.v4().to_ipv6_mapped().into(), own.v6().into()];
        for answers in [node::ROLE, "web"] {
            let agent = if answers == "web" { Some(cluster.agent().start()?) } else { None };
            for (way, local) in WAYS.into_iter().zip(locals) {
                let request = Request::get(LIST);
                let exchange = pod.tcp(way, &request.bytes())?;
                assert_eq!(request.answer(&exchange.answer())?.body, answers, "{way}");
                let ends = exchange.ends.context("not connected")?;
                assert_eq!(ends.peer, way.parse()?, "getpeername, answered by {answers}");
                assert_eq!(ends.local.ip(), local, "getsockname, answered by {answers}");
            }
            drop(agent);
        }
        Ok(())
    })
}

#[test]
fn without_an_ipv6_listener_ipv6_is_served_over_ipv4() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert_eq!(role_by(&pod, WAYS[2])?, node::ROLE);
        let _agent = cluster.agent().set("--listen", "10.0.0.10").start()?;
        for way in WAYS {
            assert_eq!(role_by(&pod, way)?, "web", "{way}");
            let ends = pod.tcp(way, &Request::get(LIST).bytes())?.ends.context("not connected")?;
            assert_eq!(ends.peer, way.parse()?);
        }
        Ok(())
    })
}

#[test]
fn the_proxys_address_and_port_can_be_chosen() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert_eq!(role_by(&pod, WAYS[0])?, node::ROLE);
        let _agent = cluster.agent().set("--listen", "10.0.0.10:18181").start()?;
        assert_eq!(role_by(&pod, WAYS[0])?, "web");
        Ok(())
    })
}

#[test]
fn the_node_and_its_host_network_pods_keep_the_real_service() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let host = cluster.pod("host").role("host").host_network().start()?;
        assert_eq!(role_by(&pod, WAYS[0])?, node::ROLE);
        let _agent = cluster.agent().set("--host-network-pods", "node").start()?;
        for way in WAYS {
            assert_eq!(role_by(&cluster.node_place(), way)?, node::ROLE, "the node by {way}");
            assert_eq!(role_by(&host, way)?, node::ROLE, "a hostNetwork pod by {way}");
            assert_eq!(role_by(&pod, way)?, "web", "a pod by {way}");
        }
        Ok(())
    })
}

#[test]
fn an_agent_that_runs_in_a_pod_is_itself_left_alone() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let home = cluster.pod("podrole-abcde").namespace("podrole").host_network().start()?;
        assert_eq!(role_by(&pod, WAYS[0])?, node::ROLE);
        let _agent = cluster.agent().in_pod(&home).start()?;
        assert_eq!(role_by(&pod, WAYS[0])?, "web");
        assert_eq!(role_by(&home, WAYS[0])?, node::ROLE);
        Ok(())
    })
}

#[test]
fn a_pod_made_after_the_agent_never_reaches_the_real_service() -> Result<()> {
    Cluster::with(|cluster| {
        let early = cluster.pod("early").start()?;
        assert_eq!(role_by(&early, WAYS[0])?, node::ROLE);
        let _agent = cluster.agent().start()?;
        let leaks = cluster.metadata.requests_of_pods()?;
        for name in ["one", "two", "three"] {
            let pod = cluster.pod(name).role(name).start()?;
            assert_eq!(pod.node_credentials()?, None, "{name}");
            pod.wait_for_role(name)?;
        }
        assert_eq!(cluster.metadata.requests_of_pods()?, leaks);
        Ok(())
    })
}

#[test]
fn while_the_agent_is_dead_pods_are_refused_and_tokens_outlive_it() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let agent = cluster.agent().start()?;
        let leaks = cluster.metadata.requests_of_pods()?;
        let token = pod.token()?;
        agent.kill()?;
        for way in WAYS {
            assert!(pod.is_refused(way)?, "{way}");
        }

        let _again = cluster.agent().start()?;
        for way in WAYS {
            let request = Request::get(LIST).header(TOKEN_HEADER, &token);
            let answer = pod.ask_at(way, &request)?;
            assert_eq!((answer.status, answer.body.as_str()), (200, "web"), "{way}");
        }
        assert_eq!(cluster.metadata.requests_of_pods()?, leaks);
        Ok(())
    })
}

#[test]
fn detach_removes_all_that_an_agent_left() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        stop(cluster.agent().start()?)?;
        assert!(!cluster.bpf_fs.pins()?.is_empty());
        assert!(pod.is_refused(WAYS[0])?);

        cluster.detach()?;
        assert_eq!(cluster.bpf_fs.pins()?, Vec::<std::path::PathBuf>::new());
        assert!(pod.node_credentials()?.is_some());
        cluster.detach().context("a second time")
    })
}

#[test]
fn each_redirect_can_be_seen_in_the_log() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let mut agent = cluster.agent().set("--log-level", "debug").start()?;
        assert_eq!(role_by(&pod, WAYS[0])?, "web");
        agent.wait_for_log("redirected")
    })
}

#[test]
fn a_missing_bpf_file_system_is_mounted() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        bpffs::unmount(cluster.bpf_fs.path())?;
        let agent = cluster.agent().start()?;
        assert_eq!(role_by(&pod, WAYS[0])?, "web");
        agent.kill()?;
        assert!(pod.is_refused(WAYS[0])?, "the pins must outlive the agent");
        Ok(())
    })
}
