//! Credentials by a pod's own token: each pod gets the role that its own ServiceAccount has, with real
//! SDKs, and nobody's token is used for another.

use anyhow::{Context as _, Result};
use jiff::SignedDuration;
use podrole_tests::aws::role_arn;
use podrole_tests::clients::FEW;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::pod::token::{EKS, IRSA};
use podrole_tests::pretend::service_account::{Claims, Named};
use podrole_tests::wait;

/// The ServiceAccount's annotation of IRSA.
const ROLE_ARN: &str = "eks.amazonaws.com/role-arn";

fn leaf(role: &str) -> String {
    format!("{LIST}{role}")
}

#[test]
fn every_client_gets_the_role_of_its_pods_eks_association() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.sts.associate("shop", "cart", "cart-role")?;
        cluster.sts.associate("shop", "pay", "pay-role")?;
        let pods = ["cart", "pay"].map(|name| {
            cluster.pod(name).namespace("shop").service_account(name).token(EKS).start()
        });
        for pod in &pods {
            let pod = pod.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            assert!(pod.node_credentials()?.is_some());
        }
        let _agent = cluster.agent().start()?;
        for pod in pods {
            let pod = pod?;
            let role = format!("{}-role", pod.name);
            for client in FEW {
                let found = pod.credentials_by(client)?;
                let session = found.with_context(|| client.name.to_owned())?.session()?;
                assert_eq!(session.role, role_arn(&role), "{}", client.name);
                let own = format!("system:serviceaccount:shop:{}", pod.name);
                assert_eq!(session.subject.as_deref(), Some(own.as_str()));
                assert_eq!(session.tags["kubernetes-pod-uid"], pod.uid);
                assert_eq!(session.duration, 6 * 3600);
            }
            assert_eq!(pod.listed_role()?.as_deref(), Some(role.as_str()));
        }
        let calls = cluster.sts.requests()?;
        let actions: Vec<_> = calls.iter().filter_map(|call| call.line.action.as_deref()).collect();
        assert_eq!(actions, ["AssumeRoleForPodIdentity"; 2]);
        Ok(())
    })
}

#[test]
fn every_client_gets_the_role_of_its_service_accounts_annotation() -> Result<()> {
    Cluster::with(|cluster| {
        for name in ["cart", "pay"] {
            let role = role_arn(&format!("{name}-role"));
            cluster.kubernetes.ensure_service_account("shop", name, &[(ROLE_ARN, &role)])?;
        }
        let start = |name: &str| {
            cluster.pod(name).namespace("shop").service_account(name).token(IRSA).start()
        };
        let pods = [start("cart")?, start("pay")?];
        for pod in &pods {
            assert!(pod.node_credentials()?.is_some());
        }
        let _agent = cluster.agent().start()?;
        for pod in &pods {
            for client in FEW {
                let found = pod.credentials_by(client)?;
                let session = found.with_context(|| client.name.to_owned())?.session()?;
                let role = format!("{}-role", pod.name);
                assert_eq!(session.role, role_arn(&role), "{}", client.name);
                let own = format!("system:serviceaccount:shop:{}", pod.name);
                assert_eq!(session.subject.as_deref(), Some(own.as_str()));
                assert_eq!(session.session, format!("shop@{}", pod.name));
            }
        }
        for call in cluster.sts.requests()? {
            assert_eq!(call.line.action.as_deref(), Some("AssumeRoleWithWebIdentity"));
            assert_eq!(call.line.access_key_id, None, "the call needs no signature");
        }
        Ok(())
    })
}

#[test]
fn a_pod_without_a_token_gets_one_of_its_own_where_they_are_requested() -> Result<()> {
    Cluster::with(|cluster| {
        for name in ["cart", "pay"] {
            let role = role_arn(&format!("{name}-role"));
            cluster.kubernetes.ensure_service_account("shop", name, &[(ROLE_ARN, &role)])?;
        }
        let start = |name: &str| cluster.pod(name).namespace("shop").service_account(name).start();
        let pods = [start("cart")?, start("pay")?];
        let agent = cluster.agent().start()?;
        for pod in &pods {
            assert_eq!(pod.listed_role()?, None, "tokens are not asked for unless that is wanted");
        }
        agent.kill()?;
        let _agent = cluster.agent().set("--service-account-tokens", "request").start()?;
        for pod in &pods {
            let role = format!("{}-role", pod.name);
            pod.wait_for_role(&role)?;
            let session = pod.credentials_of(&role)?.session()?;
            assert_eq!(session.role, role_arn(&role));
            let own = format!("system:serviceaccount:shop:{}", pod.name);
            assert_eq!(session.subject.as_deref(), Some(own.as_str()));
        }
        Ok(())
    })
}

#[test]
fn a_token_that_kubelet_renews_is_used_and_anothers_never() -> Result<()> {
    Cluster::with(|cluster| {
        cluster.sts.associate("shop", "cart", "cart-role")?;
        cluster.sts.associate("shop", "admin", "admin-role")?;
        let pod =
            cluster.pod("web").namespace("shop").service_account("cart").token(EKS).start()?;
        assert!(pod.node_credentials()?.is_some());
        let hour = SignedDuration::from_hours(1);
        let own = || Named { name: pod.name.clone(), uid: pod.uid.clone() };
        let another = Claims::of_pod("shop", "admin", own(), EKS.audience, hour);
        let elsewhere = Named { name: "web-1".into(), uid: "another".into() };
        let other_pod = Claims::of_pod("shop", "cart", elsewhere, EKS.audience, hour);
        let audience = Claims::of_pod("shop", "cart", own(), IRSA.audience, hour);
        let ended = Claims::of_pod("shop", "cart", own(), EKS.audience, -hour);
        // Before the agent could fetch ahead.
        pod.project_claims(EKS, &ended)?;
        let agent = cluster.agent().start()?;
        for (claims, reason) in [
            (ended, "expired"),
            (another, "system:serviceaccount:shop:admin"),
            (other_pod, "another pod"),
            (audience, "not for the audience pods.eks.amazonaws.com"),
        ] {
            pod.project_claims(EKS, &claims)?;
            wait::until_true("the refusal of a token", || {
                assert_eq!(pod.get(&leaf("cart-role"))?.status, 503);
                Ok(agent.log()?.contains(reason))
            })?;
        }
        assert_eq!(cluster.sts.requests()?.len(), 0);
        pod.project(EKS, hour)?;
        wait::until_true("credentials", || Ok(pod.get(&leaf("cart-role"))?.status == 200))?;
        assert_eq!(cluster.sts.requests()?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_service_account_without_an_association_is_refused_with_a_reason() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").namespace("shop").token(EKS).start()?;
        assert!(pod.node_credentials()?.is_some());
        let _agent = cluster.agent().start()?;
        let answer = pod.get(LIST)?;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.body.contains("ResourceNotFoundException"), "{answer:?}");
        Ok(())
    })
}
