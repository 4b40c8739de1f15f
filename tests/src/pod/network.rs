//! The network of a pod.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::Address;
use crate::cluster::Cluster;
use crate::netns::Namespace;

/// A network namespace of a pod's own, wired as the VPC CNI does: a host address (/32), a default
/// route to a link-local gateway with a fixed neighbour, a host route on the node.
#[derive(Debug)]
pub(super) struct Network<'c> {
    node: &'c Namespace,
    pub(super) interface: String,
    pub(super) namespace: Namespace,
    pub(super) address: Address,
}

impl<'c> Network<'c> {
    /// With the IPv6 address of `address`, and `v4`.
    pub(super) fn new(
        cluster: &'c Cluster,
        number: u32,
        address: Address,
        v4: Ipv4Addr,
    ) -> Result<Self> {
        let node = cluster.node();
        let namespace = Namespace::new(&format!("{}-pod{number}", cluster.name()))?;
        let (v6, interface) = (address.v6(), format!("vpod{number}"));
        let [high, low] = u16::try_from(number)?.to_be_bytes();
        let (here, there) = (
            format!("02:00:00:01:{high:02x}:{low:02x}"),
            format!("02:00:00:02:{high:02x}:{low:02x}"),
        );
        node.ip(&format!(
            "\
            link add {interface} address {here} type veth \
                peer name eth0 address {there} netns {}\n\
            link set {interface} up\n\
            route replace {v4}/32 dev {interface}\n\
            route replace {v6}/128 dev {interface}\n\
            neighbour replace {v4} lladdr {there} dev {interface}\n\
            neighbour replace {v6} lladdr {there} dev {interface}\n",
            namespace.name()
        ))?;
        let network = Self { node, interface, namespace, address };
        network.namespace.ip(&format!(
            "\
            address add {v4}/32 dev eth0\n\
            address add {v6}/128 dev eth0 nodad\n\
            link set eth0 up\n\
            neighbour replace 169.254.1.1 lladdr {here} dev eth0\n\
            neighbour replace fe80::1 lladdr {here} dev eth0\n\
            route add 169.254.1.1 dev eth0 scope link\n\
            route add default via 169.254.1.1 dev eth0\n\
            route add default via fe80::1 dev eth0\n"
        ))?;
        Ok(network)
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        // At once, with its routes: the kernel takes its time over the namespace.
        if let Err(error) = self.node.ip(&format!("link delete {}", self.interface)) {
            eprintln!("{error:#}");
        }
    }
}
