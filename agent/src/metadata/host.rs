//! The `Host` of a request: a pod that is made to fetch a URL of somebody's choosing (server-side
//! request forgery) must not reach its credentials by the proxy's own address, which no filter knows.

use std::net::{IpAddr, Ipv6Addr};

use http::header::HOST;
use http::request::Parts;

/// Names that EC2's resolver has for the service (Amazon EC2 User Guide, "Retrieve instance
/// metadata").
const NAMES: [&str; 2] = ["instance-data", "instance-data.ec2.internal"];

/// Whether the request is for the metadata service at one of `addresses`, by all that it says of
/// itself. One that says nothing is.
pub(crate) fn is_for_metadata(request: &Parts, addresses: &[IpAddr]) -> bool {
    let authority = request.uri.authority().map(|authority| Some(authority.as_str()));
    let hosts = request.headers.get_all(HOST).iter().map(|host| host.to_str().ok());
    hosts.chain(authority).all(|host| host.is_some_and(|host| is_metadata(host, addresses)))
}

/// RFC 9110, section 7.2: a name or an address, and a port where it is not 80. Empty is allowed.
fn is_metadata(host: &str, addresses: &[IpAddr]) -> bool {
    let host = host.trim();
    let name = host.strip_suffix(":80").unwrap_or(host);
    let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(|v6| IpAddr::V6(v6).to_canonical()),
        None => name.parse().ok().filter(IpAddr::is_ipv4),
    };
    name.is_empty()
        || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
        || address.is_some_and(|address| addresses.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str) -> bool {
        is_metadata(host, &["169.254.169.254".parse().unwrap(), "fd00:ec2::254".parse().unwrap()])
    }

    #[test]
    fn the_services_own_names_are_its() {
        for host in [
            "169.254.169.254",
            "169.254.169.254:80",
            "[fd00:ec2::254]",
            "[FD00:EC2:0::254]:80",
            "[::ffff:169.254.169.254]",
            "instance-data",
            "Instance-Data.ec2.internal:80",
            "",
        ] {
            assert!(check(host), "{host:?}");
        }
    }

    #[test]
    fn the_proxys_address_and_other_names_are_not() {
        for host in [
            "10.0.0.10:16925",
            "10.0.0.10",
            "169.254.169.254:16925",
            "[fd00:a::10]:16925",
            "fd00:ec2::254",
            "evil.example",
            "instance-data:16925",
            "169.254.169.254.evil.example",
            "[",
        ] {
            assert!(!check(host), "{host:?}");
        }
    }

    #[test]
    fn each_thing_that_names_a_host_counts() {
        let addresses = ["169.254.169.254".parse().unwrap()];
        let ask = |uri: &str, host: Option<&str>| {
            let request = http::Request::builder().uri(uri);
            let request =
                host.into_iter().fold(request, |request, host| request.header(HOST, host));
            is_for_metadata(&request.body(()).unwrap().into_parts().0, &addresses)
        };
        assert!(ask("/latest", None));
        assert!(ask("http://169.254.169.254/latest", Some("169.254.169.254")));
        assert!(!ask("http://10.0.0.10:16925/latest", Some("169.254.169.254")));
        assert!(!ask("http://169.254.169.254/latest", Some("10.0.0.10:16925")));
    }
}
