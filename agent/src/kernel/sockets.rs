//! The TCP sockets of a network namespace, as the kernel has them: where a connection truly goes, and
//! which connections arrived (proc(5), `/proc/net/tcp`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `TCP_TIME_WAIT` of the kernel's `include/net/tcp_states.h`.
const TIME_WAIT: &str = "06";

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Its own end.
    pub local: SocketAddr,
    /// The other end; all zeros where it only listens.
    pub remote: SocketAddr,
}

/// The sockets of this process's network namespace, but for those that are closed and only kept for
/// late packets; IPv4-mapped addresses as IPv4. What cannot be read is left out.
#[must_use]
pub fn of_this_namespace() -> Vec<Ends> {
    let files = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let texts = files.into_iter().filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| read(&text)).collect()
}

fn read(text: &str) -> Vec<Ends> {
    let ends = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = Ends { local: address(fields.next()?)?, remote: address(fields.next()?)? };
        (fields.next()? != TIME_WAIT).then_some(ends)
    });
    ends.collect()
}

/// Words of memory, printed as numbers, and the port.
fn address(field: &str) -> Option<SocketAddr> {
    let (address, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |from: usize| {
        let digits = address.get(from..from + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const TEXT: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B01000A:9C40 0A00000A:421D 01 00000000:00000000 00:00000000 00000000     0        0 12345 1
   1: 0000000000000000FFFF00000A00000A:421D 0000000000000000FFFF00000B01000A:9C40 01 0:0 0:0 0 0 0 7
   2: 0A0000FD000000000000000010000000:421D 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 8
   3: 0B01000A:9C41 0A00000A:421D 06 00000000:00000000 03:00000000 00000000     0        0 0 3
   4: garbage\n";

    #[test]
    fn sockets_of_both_families_are_read() {
        let ends = read(TEXT);
        let pair = |local: &str, remote: &str| Ends {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        assert_eq!(ends.len(), 3);
        assert_eq!(ends[0], pair("10.0.1.11:40000", "10.0.0.10:16925"));
        assert_eq!(ends[1], pair("10.0.0.10:16925", "10.0.1.11:40000"));
        assert_eq!(ends[2], pair("[fd00:a::10]:16925", "[::]:0"));
    }
}
