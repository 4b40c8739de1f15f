//! Pods are found by the names of cgroups that kubelet gave, and by no others.

use anyhow::{Context as _, Result};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::kubelet::{Driver, Quality, Runtime};
use podrole_tests::pod::{Pod, PodBuilder};

use super::has_leak;

/// The containers that each runtime makes, and one with cgroups of its own.
fn kinds(cluster: &Cluster, quality: Quality) -> impl Iterator<Item = PodBuilder<'_>> {
    let kinds =
        [(Runtime::Containerd, ""), (Runtime::Crio, ""), (Runtime::Containerd, "system.slice/x")];
    kinds.into_iter().enumerate().map(move |(index, (runtime, inner))| {
        let name = format!("{quality:?}-{index}").to_lowercase();
        let pod = cluster.pod(&name).role(&name).quality(quality).runtime(runtime);
        if inner.is_empty() { pod } else { pod.inner(inner) }
    })
}

/// A pod has the role of its own name.
fn has_its_role(pod: &Pod<'_>) -> Result<()> {
    let answer = pod.get(LIST).with_context(|| pod.name.clone())?;
    assert_eq!((answer.status, &answer.body), (200, &pod.name));
    Ok(())
}

#[test]
fn pods_are_known_however_kubelet_and_the_runtime_name_their_cgroups() -> Result<()> {
    for driver in Driver::ALL {
        Cluster::with_driver(driver, |cluster| {
            let all = Quality::ALL.into_iter().flat_map(|quality| kinds(cluster, quality));
            let pods = all.map(|pod| pod.unreported().start()).collect::<Result<Vec<_>>>()?;
            for pod in &pods {
                assert!(has_leak(pod)?, "{driver:?} {}", pod.name);
            }
            let _agent = cluster.agent().start()?;
            pods.iter().try_for_each(has_its_role).with_context(|| format!("{driver:?}"))
        })?;
    }
    Ok(())
}

#[test]
fn a_static_pod_is_known_by_its_mirror() -> Result<()> {
    for driver in [Driver::Cgroupfs, Driver::Systemd] {
        Cluster::with_driver(driver, |cluster| {
            let pod = cluster.pod("static").role("static").from_file()?.unreported().start()?;
            assert!(has_leak(&pod)?);
            let _agent = cluster.agent().start()?;
            has_its_role(&pod)?;
            let session = pod.credentials_of("static")?.session()?;
            assert_eq!(session.role, role_arn("static"));
            assert_eq!(session.tags["kubernetes-pod-uid"], pod.uid);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_cgroup_that_two_pods_claim_is_nobodys() -> Result<()> {
    Cluster::with(|cluster| {
        let builder = cluster.pod("static").role("static").from_file()?;
        let hash = builder.hash().context("a static pod has a hash")?.to_owned();
        let pod = builder.start()?;
        assert!(has_leak(&pod)?);
        let _agent = cluster.agent().start()?;
        has_its_role(&pod)?;

        let claimant = cluster.pod("claimant").role("claimant").mirror_of(&hash);
        let claimant = claimant.start()?;
        claimant.wait_for_role("claimant")?;
        let answer = pod.get(LIST)?;
        assert_ne!(answer.status, 200, "{answer:?}");

        claimant.delete()?;
        pod.wait_for_role("static")
    })
}

#[test]
fn nobody_claims_the_cgroup_of_a_pod_that_has_a_uid() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("victim").role("victim").start()?;
        assert!(has_leak(&pod)?);
        let _agent = cluster.agent().start()?;
        for (name, hash) in [("dashes", pod.uid.clone()), ("digits", pod.uid.replace('-', ""))] {
            let thief = cluster.pod(name).role(name).mirror_of(&hash).start()?;
            thief.wait_for_role(name)?;
            has_its_role(&pod)?;
        }
        Ok(())
    })
}

#[test]
fn a_cgroup_inside_of_a_pod_that_is_named_like_another_pod_means_nothing() -> Result<()> {
    for driver in [Driver::Cgroupfs, Driver::Systemd] {
        Cluster::with_driver(driver, |cluster| {
            let victim = cluster.pod("victim").role("victim").start()?;
            assert!(has_leak(&victim)?);
            let _agent = cluster.agent().start()?;
            for quality in Quality::ALL {
                let own = driver.pod(quality, &victim.uid);
                for inner in [own.clone(), driver.root().join(own)] {
                    let inner = inner.join("container");
                    let forger = cluster.pod("forger").role("forger").quality(Quality::Guaranteed);
                    let forger = forger.inner(&inner.display().to_string()).unreported().start()?;
                    has_its_role(&forger)?;
                    forger.delete()?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
