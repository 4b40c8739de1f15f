//! Which pod a caller is follows the Kubernetes API, however the API behaves.

use anyhow::{Context as _, Result};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::{Cluster, NODE};
use podrole_tests::http::{LIST, Request, TOKEN_HEADER};
use podrole_tests::kubernetes::Kubernetes;
use podrole_tests::pod::{Pod, ROLE_ANNOTATION};
use podrole_tests::wait;

fn has_leak(pod: &Pod<'_>) -> Result<bool> {
    Ok(pod.node_credentials()?.is_some())
}

/// How often the agent asked for all pods anew, rather than for what changed since.
fn lists(cluster: &Cluster) -> Result<usize> {
    let seen = cluster.kubernetes.seen()?;
    let pods = seen.iter().filter(|seen| seen.target.contains("/pods"));
    Ok(pods.filter(|seen| !seen.target.contains("watch=true")).count())
}

fn leaf(role: &str) -> String {
    format!("{LIST}{role}")
}

#[test]
fn a_changed_annotation_changes_the_role() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("before").start()?;
        assert!(has_leak(&pod)?);
        let _agent = cluster.agent().start()?;
        assert_eq!(pod.credentials_of("before")?.session()?.role, role_arn("before"));

        pod.annotate(ROLE_ANNOTATION, Some(&role_arn("after")))?;
        pod.wait_for_role("after")?;
        assert_eq!(pod.get(&leaf("before"))?.status, 404);
        assert_eq!(pod.credentials_of("after")?.session()?.role, role_arn("after"));

        pod.annotate(ROLE_ANNOTATION, None)?;
        wait::until_true("the role to go", || Ok(pod.listed_role()?.is_none()))?;
        assert_eq!(pod.get(&leaf("after"))?.status, 404);
        Ok(())
    })
}

#[test]
fn a_finished_pod_does_not_own_its_address() -> Result<()> {
    Cluster::with(|cluster| {
        let witness = cluster.pod("witness").start()?;
        assert!(has_leak(&witness)?);
        let _agent = cluster.agent().start()?;
        for phase in ["Succeeded", "Failed"] {
            let name = phase.to_lowercase();
            let job = cluster.pod(&format!("{name}-job")).role(&name).start()?;
            job.wait_for_role(&name)?;
            let address = job.address().context("a pod has addresses")?;
            job.finish(phase)?;

            let next =
                cluster.pod(&format!("{name}-next")).role("next").address(address).start()?;
            next.wait_for_role("next")?;
            assert_eq!(next.get(&leaf(&name))?.status, 404, "{phase}");
            let session = next.credentials_of("next")?.session()?;
            assert_eq!(session.session, format!("default@{name}-next"));
        }
        Ok(())
    })
}

#[test]
fn a_pod_that_gets_a_used_address_gets_nothing_else_with_it() -> Result<()> {
    Cluster::with(|cluster| {
        let first = cluster.pod("first").role("first").start()?;
        assert!(has_leak(&first)?);
        let _agent = cluster.agent().start()?;
        first.credentials_of("first")?;
        let token = first.token()?;
        let address = first.address().context("a pod has addresses")?;
        first.delete()?;

        let second = cluster.pod("second").role("second").address(address).start()?;
        let foreign = second.ask(&Request::get(LIST).header(TOKEN_HEADER, &token))?;
        assert_ne!(foreign.status, 200, "{foreign:?}");
        second.wait_for_role("second")?;
        let foreign = second.ask(&Request::get(LIST).header(TOKEN_HEADER, &token))?;
        assert_eq!(foreign.status, 401, "the token of a pod that is gone");
        assert_eq!(second.get(&leaf("first"))?.status, 404);
        second.delete()?;

        let third = cluster.pod("third").address(address).start()?;
        wait::until_true("the third pod to be known", || Ok(third.get(LIST)?.status == 404))?;
        assert_eq!(third.get(&leaf("second"))?.status, 404);
        Ok(())
    })
}

#[test]
fn a_watch_that_was_cut_goes_on() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("zero").start()?;
        assert!(has_leak(&pod)?);
        let _agent = cluster.agent().start()?;
        for (role, lists_so_far, disturb) in [
            ("one", 1, Kubernetes::cut_watches as fn(&Kubernetes) -> Result<()>),
            ("two", 2, Kubernetes::forget_history),
            ("three", 2, Kubernetes::cut_watches),
        ] {
            disturb(&cluster.kubernetes)?;
            pod.annotate(ROLE_ANNOTATION, Some(&role_arn(role)))?;
            pod.wait_for_role(role)?;
            let late = cluster.pod(&format!("late-{role}")).role(role).start()?;
            late.wait_for_role(role)?;
            assert_eq!(lists(cluster)?, lists_so_far, "{role}");
        }
        Ok(())
    })
}

#[test]
fn known_pods_are_served_while_the_api_server_is_away() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(has_leak(&pod)?);
        let _agent = cluster.agent().start()?;
        let before = pod.credentials_of("web")?;

        cluster.kubernetes.fail()?;
        assert_eq!(pod.credentials_of("web")?.access_key_id, before.access_key_id);
        assert!(!pod.token()?.is_empty());

        cluster.kubernetes.recover()?;
        pod.annotate(ROLE_ANNOTATION, Some(&role_arn("after")))?;
        pod.wait_for_role("after")
    })
}

#[test]
fn a_malformed_annotation_gets_no_credentials_and_is_named_in_the_log() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("odd").annotation(ROLE_ANNOTATION, "no role, surely").start()?;
        assert!(has_leak(&pod)?);
        let mut agent = cluster.agent().start()?;
        for path in [LIST, &leaf("no role, surely"), &leaf("web")] {
            let answer = pod.get(&path.replace(' ', "%20"))?;
            assert_eq!(answer.status, 403, "{path}: {answer:?}");
        }
        agent.wait_for_log("no role, surely")?;
        let log = agent.log()?;
        let line = log.lines().find(|line| line.contains("no role, surely")).unwrap_or_default();
        assert!(line.contains(ROLE_ANNOTATION) && line.contains("default/odd"), "{line}");

        pod.annotate(ROLE_ANNOTATION, Some(&role_arn("web")))?;
        pod.wait_for_role("web")
    })
}

#[test]
fn only_the_nodes_own_pods_are_asked_for() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(has_leak(&pod)?);
        cluster.pod("far").role("far").elsewhere("node-2")?;
        let _agent = cluster.agent().start()?;
        pod.wait_for_role("web")?;
        cluster.kubernetes.forget_history()?;
        pod.annotate(ROLE_ANNOTATION, Some(&role_arn("after")))?;
        pod.wait_for_role("after")?;

        let seen = cluster.kubernetes.seen()?;
        let pods: Vec<_> = seen.iter().filter(|seen| seen.target.contains("/pods")).collect();
        assert!(pods.len() >= 2, "{seen:?}");
        for asked in pods {
            let target = asked.target.replace("%3D", "=");
            assert!(target.contains(&format!("fieldSelector=spec.nodeName={NODE}")), "{asked:?}");
        }
        Ok(())
    })
}
