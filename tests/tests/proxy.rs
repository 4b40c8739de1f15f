//! A proxy that the environment names stands between the node and AWS, and never before the metadata
//! service, the container credentials endpoint or the API server.

use anyhow::{Context as _, Result};
use podrole_tests::aws::{PROXY_URL, Sts, role_arn};
use podrole_tests::clients::BOTO3;
use podrole_tests::cluster::Cluster;
use podrole_tests::pretend::node;

/// A name that nobody resolves: only the proxy is ever asked for it.
const STS: &str = "http://sts.us-west-2.internal.test";

#[test]
fn sts_is_asked_by_the_proxy_and_the_nodes_own_services_are_not() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        assert!(web.node_credentials()?.is_some());
        let before = cluster.metadata.requests()?.len();
        let proxy = Sts::start_as_proxy(&cluster.outside_place(), cluster.directory())?;
        // Its own credentials are the instance profile's, from the metadata service.
        let agent = cluster.agent().without_env("AWS_ACCESS_KEY_ID");
        let agent = agent.without_env("AWS_SECRET_ACCESS_KEY").env("AWS_ENDPOINT_URL_STS", STS);
        let agent = agent.env("HTTP_PROXY", PROXY_URL).env("HTTPS_PROXY", PROXY_URL);
        let _agent = agent.env("http_proxy", PROXY_URL).start()?;

        let found = web.credentials_by(&BOTO3)?.context("no credentials")?;
        assert_eq!(found.session()?.role, role_arn("web"));
        let requests = proxy.requests()?;
        assert!(!requests.is_empty());
        for request in requests {
            assert_eq!(request.target, format!("{STS}/"), "the proxy was asked for it");
            let signed_by = request.line.access_key_id.context("unsigned")?;
            assert_eq!(signed_by, node::Keys::of_instance_profile().id);
        }
        assert!(cluster.metadata.requests()?.len() > before, "nobody asked the metadata service");
        assert_eq!(cluster.sts.requests()?.len(), 0);
        Ok(())
    })
}

#[test]
fn what_no_proxy_names_is_asked_directly() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let proxy = Sts::start_as_proxy(&cluster.outside_place(), cluster.directory())?;
        let agent = cluster.agent().env("HTTP_PROXY", PROXY_URL).env("NO_PROXY", "10.0.0.0/24");
        let _agent = agent.start()?;
        let found = web.credentials_by(&BOTO3)?.context("no credentials")?;
        assert_eq!(found.session()?.role, role_arn("web"));
        assert_eq!(proxy.requests()?.len(), 0);
        Ok(())
    })
}
