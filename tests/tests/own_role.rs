//! Each pod gets its own role and nobody else's, with AWS clients as they are.

use std::collections::BTreeMap;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use podrole_tests::agent::{CLUSTER_ARN, CLUSTER_NAME};
use podrole_tests::aws::role_arn;
use podrole_tests::clients::{self, Client, Credentials};
use podrole_tests::cluster::Cluster;
use podrole_tests::kubelet::Quality;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::node::LEAK_MARKER;

/// Lets one client run in all pods at the same time.
fn in_all<'p>(
    pods: &[&'p Pod<'p>],
    client: &Client,
) -> Result<Vec<(&'p Pod<'p>, Option<Credentials>)>> {
    thread::scope(|scope| {
        let running: Vec<_> =
            pods.iter().map(|pod| (*pod, scope.spawn(|| pod.credentials_by(client)))).collect();
        let results = running.into_iter().map(|(pod, thread)| {
            let result = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            Ok((pod, result.with_context(|| format!("{} in {}", client.name, pod.name))?))
        });
        results.collect()
    })
}

/// The session tags of EKS Pod Identity, for a pod of the ServiceAccount.
fn tags(pod: &Pod<'_>, service_account: &str) -> BTreeMap<String, String> {
    let tags = [
        ("eks-cluster-arn", CLUSTER_ARN),
        ("eks-cluster-name", CLUSTER_NAME),
        ("kubernetes-namespace", &pod.namespace),
        ("kubernetes-service-account", service_account),
        ("kubernetes-pod-name", &pod.name),
        ("kubernetes-pod-uid", &pod.uid),
    ];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[test]
fn every_client_gets_the_role_of_the_pod_it_runs_in() -> Result<()> {
    Cluster::with(|cluster| {
        let web =
            cluster.pod("web").namespace("shop").service_account("cart").role("web").start()?;
        let batch = cluster
            .pod("batch")
            .namespace("reports")
            .role("batch")
            .quality(Quality::BestEffort)
            .start()?;
        let plain = cluster.pod("plain").start()?;
        let pods = [&web, &batch, &plain];
        for client in clients::FEW {
            for (pod, found) in in_all(&pods, client)? {
                let leaked = found.with_context(|| format!("{} found nothing", client.name))?;
                assert!(leaked.token.contains(LEAK_MARKER), "{} in {}", client.name, pod.name);
            }
        }
        let leaks = cluster.metadata.requests_of_pods()?;
        assert!(leaks >= 3 * 2 * clients::FEW.len(), "only {leaks} requests");

        let _agent = cluster.agent().start()?;
        for client in clients::FEW {
            for (pod, found) in in_all(&pods, client)? {
                if pod.name == "plain" {
                    assert_eq!(found, None, "{}", client.name);
                    continue;
                }
                let found = found.with_context(|| format!("{} in {}", client.name, pod.name))?;
                let session = found.session()?;
                assert_eq!(session.role, role_arn(&pod.name), "{}", client.name);
                assert_eq!(session.session, format!("{}@{}", pod.namespace, pod.name));
                let account = if pod.name == "web" { "cart" } else { "default" };
                assert_eq!(session.tags, tags(pod, account));
                assert_eq!(session.transitive, Vec::<String>::new());
                assert_eq!(session.duration, 3600);
            }
        }
        assert_eq!(cluster.sts.asked_for("web")?.len(), 1);
        assert_eq!(cluster.sts.asked_for("batch")?.len(), 1);
        assert_eq!(cluster.metadata.requests_of_pods()?, leaks);
        Ok(())
    })
}

#[test]
fn sts_knows_the_aws_cli_by_its_pods_session() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        let plain = cluster.pod("plain").start()?;
        let leaked = web.caller_identity_by_aws_cli()?.context("no credentials")?;
        assert!(leaked.contains("assumed-role/NodeInstanceRole/"), "{leaked}");

        let _agent = cluster.agent().start()?;
        assert_eq!(
            web.caller_identity_by_aws_cli()?.as_deref(),
            Some("arn:aws:sts::444455556666:assumed-role/web/shop@web")
        );
        assert_eq!(plain.caller_identity_by_aws_cli()?, None);
        Ok(())
    })
}

#[test]
fn two_pods_of_one_role_get_sessions_of_their_own() -> Result<()> {
    Cluster::with(|cluster| {
        let first = cluster.pod("first").role("shared").start()?;
        let second = cluster.pod("second").role("shared").start()?;
        assert!(first.node_credentials()?.is_some() && second.node_credentials()?.is_some());

        let _agent = cluster.agent().start()?;
        for pod in [&first, &second] {
            let session = pod.credentials_of("shared")?.session()?;
            assert_eq!(session.session, format!("default@{}", pod.name));
            assert_eq!(session.tags, tags(pod, "default"));
        }
        assert_eq!(cluster.sts.asked_for("shared")?.len(), 2);
        Ok(())
    })
}
