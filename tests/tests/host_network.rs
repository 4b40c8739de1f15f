//! Pods in the node's network namespace: the node unless the operator says otherwise, and then each by
//! its own rule, told apart by nothing but their cgroups.

use anyhow::{Context as _, Result};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::kubelet::Quality;
use podrole_tests::pod::{Pod, ROLE_ANNOTATION};
use podrole_tests::pretend::node;
use podrole_tests::wait;

const FLAG: &str = "--host-network-pods";

fn is_node(pod: &Pod<'_>) -> Result<bool> {
    Ok(pod.node_credentials()?.is_some_and(|found| found.contains(node::LEAK_MARKER)))
}

fn until_node(pod: &Pod<'_>) -> Result<()> {
    wait::until_true(&format!("{} to be the node", pod.name), || {
        Ok(is_node(pod).unwrap_or_default())
    })
}

/// Whether the kernel refuses its connections.
fn is_refused(pod: &Pod<'_>) -> bool {
    pod.get(LIST).is_err()
}

#[test]
fn host_network_pods_are_the_node_where_nothing_else_is_said() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").host_network().role("web").start()?;
        assert!(is_node(&pod)?);
        let _agent = cluster.agent().start()?;
        assert!(is_node(&pod)?, "--host-network-pods=node is the default");
        Ok(())
    })
}

#[test]
fn mapped_host_network_pods_have_roles_of_their_own_and_others_are_the_node() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").host_network().role("web").start()?;
        let batch = cluster.pod("batch").host_network().role("batch");
        let batch = batch.quality(Quality::Guaranteed).start()?;
        let plain = cluster.pod("plain").host_network().start()?;
        let proxy = cluster.pod("kube-proxy").namespace("kube-system").role("web");
        let proxy = proxy.host_network().start()?;
        let other = cluster.pod("other").role("other").start()?;
        for pod in [&web, &batch, &plain, &proxy, &other] {
            assert!(is_node(pod)?, "{}", pod.name);
        }

        let _agent = cluster.agent().set(FLAG, "mapped").start()?;
        for (pod, role) in [(&web, "web"), (&batch, "batch"), (&other, "other")] {
            pod.wait_for_role(role)?;
            let session = pod.credentials_of(role)?.session()?;
            assert_eq!(session.role, role_arn(role));
            assert_eq!(session.session, format!("default@{}", pod.name));
        }
        until_node(&plain)?;
        until_node(&proxy)?;

        web.annotate(ROLE_ANNOTATION, None)?;
        until_node(&web)?;
        plain.annotate(ROLE_ANNOTATION, Some(&role_arn("late")))?;
        // Until the agent is told of it, the pod is the node.
        wait::until_true("a role of its own", || {
            Ok(plain.listed_role().is_ok_and(|role| role.as_deref() == Some("late")))
        })?;
        Ok(())
    })
}

#[test]
fn denied_host_network_pods_have_their_own_role_or_none() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").host_network().role("web").start()?;
        let plain = cluster.pod("plain").host_network().start()?;
        let agent = cluster.pod("agent").namespace("monitoring").service_account("scraper");
        let exempt = agent.host_network().start()?;
        let fixed = cluster.pod("fixed").namespace("shop").from_file()?.host_network().start()?;
        for pod in [&web, &plain, &exempt, &fixed] {
            assert!(is_node(pod)?, "{}", pod.name);
        }

        let flags = cluster.agent().set(FLAG, "deny");
        let _agent = flags.set("--host-network-exempt", "monitoring/*").start()?;
        web.wait_for_role("web")?;
        until_node(&exempt)?;
        until_node(&fixed)?;
        wait::until_true("the unmapped pod to get nothing", || {
            Ok(plain.get(LIST).is_ok_and(|answer| answer.status == 404))
        })?;
        let zone = "/latest/meta-data/placement/availability-zone";
        assert_eq!(plain.get(zone)?.status, 200, "in all but its role it is the node");
        Ok(())
    })
}

#[test]
fn a_host_network_pod_that_is_not_known_yet_is_refused_in_the_kernel() -> Result<()> {
    Cluster::with(|cluster| {
        let early = cluster.pod("early").host_network().start()?;
        assert!(is_node(&early)?);
        let mut agent = cluster.agent().set(FLAG, "mapped").start()?;
        until_node(&early)?;

        cluster.kubernetes.fail()?;
        let cgroup = cluster.pod_cgroup().join("burstable/pod00000000-0000-4000-8000-000000000001");
        let ghost = podrole_tests::cgroup::Cgroup::new(cgroup)?;
        let place =
            podrole_tests::place::Place { cgroup: ghost.path().to_owned(), ..cluster.node_place() };
        assert!(place.get(LIST).is_err(), "refused, since nobody knows it");
        assert!(is_node(&early)?, "what is known goes on");
        agent.terminate()?;
        agent.wait(wait::PATIENCE).context("the agent's end")?;
        assert!(is_node(&early)?, "without an agent, too");
        assert!(place.get(LIST).is_err(), "without an agent, too");
        Ok(())
    })
}

#[test]
fn a_held_pod_is_refused_while_no_agent_runs() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").host_network().role("web").start()?;
        assert!(is_node(&web)?);
        let agent = cluster.agent().set(FLAG, "mapped").start()?;
        web.wait_for_role("web")?;
        agent.kill()?;
        assert!(is_refused(&web));
        let _agent = cluster.agent().set(FLAG, "mapped").start()?;
        web.wait_for_role("web")
    })
}
