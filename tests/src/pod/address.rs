//! The addresses of pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};

/// How many pods have addresses of their own: `10.0.1.0` to `10.0.3.255`.
const MOST: u16 = 3 * 256;

/// The addresses of a pod, IPv4 and IPv6, by the one number in which they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(u16);

impl Address {
    /// Those of the pod with this number.
    pub(super) fn numbered(number: u32) -> Result<Self> {
        let number = u16::try_from(10 + number)?;
        ensure!(number < MOST, "there are no addresses for so many pods");
        Ok(Self(number))
    }

    /// The addresses of the pod that `ip` belongs to, if it is a pod's.
    #[must_use]
    pub fn of(ip: IpAddr) -> Option<Self> {
        let number = match ip {
            IpAddr::V4(v4) => {
                let [_, _, high, low] = v4.octets();
                u16::from_be_bytes([high.checked_sub(1)?, low])
            }
            IpAddr::V6(v6) => v6.segments()[7],
        };
        let address = Self(number);
        (number < MOST && (ip == address.v4() || ip == address.v6())).then_some(address)
    }

    /// `10.0.1.x`, and so on in `10.0.2.x` and `10.0.3.x`.
    #[must_use]
    pub fn v4(self) -> Ipv4Addr {
        let [high, low] = self.0.to_be_bytes();
        Ipv4Addr::new(10, 0, 1 + high, low)
    }

    /// `fd00:a:1::x`
    #[must_use]
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0xa, 1, 0, 0, 0, 0, self.0)
    }

    /// `169.254.172.x`: what a pod of an IPv6 cluster of EKS reaches IPv4 from.
    #[must_use]
    pub fn egress_v4(self) -> Ipv4Addr {
        let [_, low] = self.0.to_be_bytes();
        Ipv4Addr::new(169, 254, 172, low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_again_by_either_family() {
        for number in [1, 245, 246, 500] {
            let address = Address::numbered(number).unwrap();
            assert_eq!(Address::of(address.v4().into()), Some(address));
            assert_eq!(Address::of(address.v6().into()), Some(address));
        }
        assert_eq!(Address::numbered(246).unwrap().v4(), Ipv4Addr::new(10, 0, 2, 0));
        assert!(Address::numbered(1000).is_err());
    }

    #[test]
    fn other_addresses_are_no_pods() {
        for other in ["10.0.0.10", "10.0.9.9", "fd00:a::10", "169.254.172.11", "127.0.0.1"] {
            assert_eq!(Address::of(other.parse().unwrap()), None, "{other}");
        }
    }
}
