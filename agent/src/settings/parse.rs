//! Each flag's text, checked. An error says what is wrong with the value and what would be right.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use crate::callers::host_network::HostNetworkPods;
use crate::kernel::{ForwardHook, Hook};
use crate::operate::telemetry::Format;

use super::{Listen, MetadataAddresses, PROXY_PORT};

pub(super) fn node_name(given: Option<String>) -> Result<String, String> {
    given.filter(|name| !name.is_empty()).ok_or_else(|| {
        "required; in a DaemonSet set NODE_NAME from the field spec.nodeName".to_owned()
    })
}

/// The key of a taint, which is a label's (Kubernetes, "Labels and Selectors", syntax); none if empty.
pub(super) fn taint(given: String) -> Result<Option<String>, String> {
    if given.is_empty() {
        return Ok(None);
    }
    let (prefix, name) = given.rsplit_once('/').unwrap_or(("", &given));
    let is_word = |text: &str, most: usize, marks: &str| {
        let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= most
            && is_end(text.chars().next())
            && is_end(text.chars().next_back())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
    };
    let has_prefix = given.contains('/');
    if is_word(name, 63, "-_.") && (!has_prefix || is_word(prefix, 253, "-.")) {
        Ok(Some(given))
    } else {
        Err(format!("{given:?} is no key of a taint, such as podrole.dev/not-ready"))
    }
}

/// `on` or `off`.
pub(super) fn switch(given: &str) -> Result<bool, String> {
    match given {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{given:?} is neither `on` nor `off`")),
    }
}

pub(super) fn absolute(path: PathBuf) -> Result<PathBuf, String> {
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("{:?} is not an absolute path", path.display().to_string()))
    }
}

pub(super) fn listen(given: &[String]) -> Result<Option<Listen>, String> {
    let (mut v4, mut v6) = (None, None);
    for text in given {
        let address = socket_address(text)?;
        let ip = address.ip();
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            return Err(format!("pods cannot be redirected to {ip}; name an address of this node"));
        }
        let taken = match address {
            SocketAddr::V4(address) => v4.replace(address).is_some(),
            SocketAddr::V6(address) => v6.replace(address).is_some(),
        };
        if taken {
            return Err(format!("{text:?} is a second address of its family; name one of each"));
        }
    }
    match v4 {
        None if given.is_empty() => Ok(None),
        None => Err("an IPv4 address is needed: it takes what IPv6 cannot".into()),
        Some(v4) => Ok(Some(Listen { v4, v6 })),
    }
}

/// `IP`, `IP:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse() {
        Ok(IpAddr::V4(ip)) => Ok(SocketAddrV4::new(ip, PROXY_PORT).into()),
        Ok(IpAddr::V6(ip)) => Ok(SocketAddrV6::new(ip, PROXY_PORT, 0, 0).into()),
        Err(_) => Err(format!("{text:?} is no address; write 10.0.0.10 or 10.0.0.10:{PROXY_PORT}")),
    }
}

pub(super) fn admin_listen(given: Option<&str>) -> Result<Option<SocketAddr>, String> {
    given
        .map(|text| text.parse().map_err(|_| format!("{text:?} is not of the form ADDRESS:PORT")))
        .transpose()
}

pub(super) fn metadata(given: &[String]) -> Result<MetadataAddresses, String> {
    let mut addresses = MetadataAddresses::default();
    for text in given {
        let ip: IpAddr = text.parse().map_err(|_| format!("{text:?} is no IP address"))?;
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_mapped(ip) {
            return Err(format!("{ip} cannot be the metadata service's address"));
        }
        let taken = match ip {
            IpAddr::V4(ip) => addresses.v4.replace(ip).is_some(),
            IpAddr::V6(ip) => addresses.v6.replace(ip).is_some(),
        };
        if taken {
            return Err(format!("{text:?} is a second address of its family; name one of each"));
        }
    }
    Ok(addresses)
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if Ipv6Addr::to_ipv4_mapped(&ip).is_some())
}

pub(super) fn host_network_pods(given: &str) -> Result<HostNetworkPods, String> {
    match given {
        "node" => Ok(HostNetworkPods::Node),
        "mapped" => Ok(HostNetworkPods::Mapped),
        "deny" => Ok(HostNetworkPods::Deny),
        _ => Err(format!("{given:?} is unknown; write `node`, `mapped` or `deny`")),
    }
}

pub(super) fn may_lack(given: &[String]) -> Result<Vec<Hook>, String> {
    let known = || Hook::ALL.map(|hook| format!("`{hook}`")).join(", ");
    let hook =
        |name: &String| name.parse().map_err(|()| format!("{name:?} is none of {}", known()));
    given.iter().map(hook).collect()
}

pub(super) fn forward_hook(given: Option<&str>) -> Result<Option<ForwardHook>, String> {
    let parsed = given.map(|name| name.parse::<ForwardHook>().map_err(|()| name));
    parsed.transpose().map_err(|name| format!("{name:?} is unknown; write `tcx` or `clsact`"))
}

pub(super) fn log_format(given: Option<&str>) -> Result<Format, String> {
    match given {
        None => Ok(Format::for_stderr()),
        Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(format!("{other:?} is unknown; write `text` or `json`")),
    }
}

pub(super) fn log_level(given: String) -> Result<String, String> {
    match EnvFilter::builder().parse(&given) {
        Ok(_) => Ok(given),
        Err(error) => Err(format!("{given:?} is no filter ({error}); write `info` or `debug`")),
    }
}
