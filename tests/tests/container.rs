//! `--container-credentials`: SDKs that look where ECS and EKS Pod Identity have their agents get the
//! session of their own pod. (Without the flag those addresses are as they were: `untouched`.)

use anyhow::{Context as _, Result};
use podrole_tests::aws::role_arn;
use podrole_tests::clients::{BOTO3, JAVASCRIPT2};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{LIST, Request};
use podrole_tests::pod::Pod;

/// As EKS's webhook sets it.
const FULL: (&str, &str) =
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
/// The same by IPv6.
const FULL_V6: (&str, &str) =
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://[fd00:ec2::23]/v1/credentials");
/// As ECS sets it, whose address SDKs know.
const RELATIVE: (&str, &str) = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v1/credentials");
/// A token that is somebody else's, or nobody's: it plays no part.
const TOKEN: (&str, &str) = ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-another-pod");

/// The status of a path there, asked for under the name `host`.
fn status(pod: &Pod<'_>, host: &str, path: &str) -> Result<u16> {
    let request = Request::get(path);
    let text = String::from_utf8(request.bytes())?;
    let text = text.replace("Host: 169.254.169.254", &format!("Host: {host}"));
    let exchange = pod.tcp("169.254.170.23:80", text.as_bytes())?;
    Ok(request.answer(&exchange.answer())?.status)
}

#[test]
fn sdks_get_their_pods_session_as_from_eks_own_agent() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        let batch = cluster.pod("batch").namespace("reports").role("batch").start()?;
        let _agent = cluster.agent().set("--container-credentials", "on").start()?;
        for pod in [&web, &batch] {
            for client in [&BOTO3, &JAVASCRIPT2] {
                for variables in [[FULL, TOKEN], [FULL_V6, TOKEN], [RELATIVE, TOKEN]] {
                    // Of IPv6, the SDK for JavaScript 2 knows nothing.
                    if client.id == JAVASCRIPT2.id && variables[0] == FULL_V6 {
                        continue;
                    }
                    let found = pod.credentials_with(client, &variables)?;
                    let told = || format!("{} by {}", client.name, variables[0].1);
                    let session = found.with_context(told)?.session()?;
                    assert_eq!(session.role, role_arn(&pod.name), "{}", told());
                    assert_eq!(session.session, format!("{}@{}", pod.namespace, pod.name));
                }
            }
            assert_eq!(cluster.sts.asked_for(&pod.name)?.len(), 1, "one session for all ways");
        }
        Ok(())
    })
}

#[test]
fn what_else_is_asked_there_is_refused_or_left_alone() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let plain = cluster.pod("plain").start()?;
        let _agent = cluster.agent().set("--container-credentials", "on").start()?;
        let own = "169.254.170.23";
        assert_eq!(status(&web, own, "/v1/credentials")?, 200);
        assert_eq!(status(&web, own, "/v1/credentials/")?, 404);
        assert_eq!(status(&web, own, &format!("{LIST}web"))?, 404);
        assert_eq!(status(&web, "evil.example", "/v1/credentials")?, 403);
        assert_eq!(status(&plain, own, "/v1/credentials")?, 404);
        // The metadata service has no such path, and the node still reaches what it always did.
        assert_eq!(web.get("/v1/credentials")?.status, 404);
        let node = cluster.node_place();
        assert!(node.reaches_bystander("169.254.170.23:80".parse()?, false)?);
        assert!(web.reaches_bystander("169.254.169.253:53".parse()?, false)?);
        Ok(())
    })
}
