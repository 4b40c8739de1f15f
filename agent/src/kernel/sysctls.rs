//! The node's network settings that podrole depends on (the kernel's
//! `Documentation/networking/ip-sysctl.rst`).

use std::fs;
use std::io;
use std::path::PathBuf;

use tracing::{info, warn};

const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

/// Keeps `ports` from being given to connections that leave the node, and says what is set in a way
/// that a pod could use.
pub fn prepare(ports: &[u16]) {
    if let Err(error) = reserve(ports) {
        warn!(
            %error,
            "cannot reserve podrole's ports; a connection of the node may take one while no agent runs: set net.ipv4.ip_local_reserved_ports to hold {ports:?}"
        );
    }
    if read("net/ipv4/conf/all/accept_source_route").is_ok_and(|value| value != "0") {
        warn!(
            "net.ipv4.conf.all.accept_source_route is on; the forward guard stops source routes to the metadata service, but nothing needs them: set it to 0"
        );
    }
    if read("net/ipv4/conf/all/rp_filter").is_ok_and(|value| value == "0") {
        info!(
            "net.ipv4.conf.all.rp_filter is off; a pod with CAP_NET_RAW may send with another's address unless the CNI sets it for each interface"
        );
    }
}

fn reserve(ports: &[u16]) -> io::Result<()> {
    let reserved = read(RESERVED)?;
    let missing = ports.iter().filter(|port| !contains(&reserved, **port));
    let missing: Vec<String> = missing.map(ToString::to_string).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all: Vec<&str> = reserved.split(',').chain(missing.iter().map(String::as_str)).collect();
    let all: Vec<&str> = all.into_iter().filter(|part| !part.is_empty()).collect();
    fs::write(path(RESERVED), all.join(","))
}

/// Whether a list of ports and ranges, such as `1,30000-32767`, contains this one.
fn contains(list: &str, port: u16) -> bool {
    list.split(',').filter(|part| !part.is_empty()).any(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let range = from.parse::<u16>().and_then(|from| Ok(from..=to.parse()?));
        range.is_ok_and(|range| range.contains(&port))
    })
}

fn read(name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(path(name))?.trim().to_owned())
}

/// These are the settings of the network namespace of whoever opens the file.
fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn ports_are_found_alone_and_in_ranges() {
        for (list, port, there) in [
            ("", 16925, false),
            ("16925", 16925, true),
            ("1,16900-16950", 16925, true),
            ("1,16900-16950", 16951, false),
            ("16926", 16925, false),
            ("nonsense,16925", 16925, true),
        ] {
            assert_eq!(contains(list, port), there, "{list:?} {port}");
        }
    }
}
