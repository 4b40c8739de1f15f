//! The HTTP client of the AWS SDK on a node: the proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`
//! name stands between the node and AWS, and never between the node and itself.
//!
//! The SDK's own client would send to that proxy what is for the metadata service and for the
//! container credentials endpoint too: the proxy would get the node's credentials, or give its own.

use std::net::IpAddr;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use http::Uri;

/// Chooses for each request whether it goes by the proxy.
#[derive(Debug)]
pub(super) struct NodeClient {
    by_proxy: SharedHttpClient,
    direct: SharedHttpClient,
    /// Where `AWS_EC2_METADATA_SERVICE_ENDPOINT` says that the metadata service is.
    metadata_host: Option<Box<str>>,
}

impl NodeClient {
    pub(super) fn from_environment() -> Self {
        let endpoint = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").ok();
        let host = endpoint.and_then(|url| url.parse::<Uri>().ok()?.host().map(Into::into));
        Self {
            by_proxy: client(&ProxyConfig::from_env()),
            direct: client(&ProxyConfig::disabled()),
            metadata_host: host,
        }
    }
}

/// As the SDK makes its default client, but for the proxy.
fn client(proxy: &ProxyConfig) -> SharedHttpClient {
    let proxy = proxy.clone();
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.set_proxy_config(Some(proxy.clone()));
        connector.build()
    })
}

impl HttpClient for NodeClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(NodeConnector {
            by_proxy: self.by_proxy.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
            metadata_host: self.metadata_host.clone(),
        })
    }
}

#[derive(Debug)]
struct NodeConnector {
    by_proxy: SharedHttpConnector,
    direct: SharedHttpConnector,
    metadata_host: Option<Box<str>>,
}

impl HttpConnector for NodeConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri().parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host);
        // What cannot be read fails the same way by either.
        if host.is_some_and(|host| is_of_this_node(host, self.metadata_host.as_deref())) {
            self.direct.call(request)
        } else {
            self.by_proxy.call(request)
        }
    }
}

/// Loopback, link-local and `fd00:ec2::/32`, where the instance's own services are (Amazon EC2 User
/// Guide, "Access instance metadata"; Amazon EKS User Guide, "EKS Pod Identity agent"); and wherever
/// the environment puts the metadata service.
fn is_of_this_node(host: &str, metadata_host: Option<&str>) -> bool {
    if host.eq_ignore_ascii_case("localhost")
        || metadata_host.is_some_and(|metadata| metadata.eq_ignore_ascii_case(host))
    {
        return true;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback()
                || ip.is_unicast_link_local()
                || matches!(ip.segments(), [0xfd00, 0x0ec2, ..])
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_own_services_are_never_asked_by_a_proxy() {
        for host in [
            "169.254.169.254",
            "[fd00:ec2::254]",
            "169.254.170.2",
            "169.254.170.23",
            "[fd00:ec2::23]",
            "[::ffff:169.254.169.254]",
            "127.0.0.1",
            "[::1]",
            "localhost",
        ] {
            assert!(is_of_this_node(host, None), "{host}");
        }
        assert!(is_of_this_node("imds.example", Some("imds.example")));
        for host in ["sts.us-west-2.amazonaws.com", "10.0.0.1", "[fd00:a::1]", "imds.example"] {
            assert!(!is_of_this_node(host, None), "{host}");
        }
    }
}
