//! Containers of the node that are no pods, as Docker makes them.

use anyhow::Result;

use crate::cluster::Cluster;
use crate::leftovers;
use crate::netns::Namespace;
use crate::place::Place;

/// A container behind a bridge of the node, in 172.17.`network`.0/24.
///
/// # Errors
/// What `ip` says.
pub fn container(cluster: &Cluster, bridge: &str, network: u8) -> Result<(Namespace, Place)> {
    let namespace = Namespace::new(&leftovers::name())?;
    let name = namespace.name();
    cluster.node_place().ip(&format!(
        "\
            link add {bridge} type bridge\n\
            address add 172.17.{network}.1/24 dev {bridge}\n\
            link set {bridge} up\n\
            link add port{network} type veth peer name eth0 netns {name}\n\
            link set port{network} master {bridge} up\n"
    ))?;
    namespace.ip(&format!(
        "\
        address add 172.17.{network}.2/24 dev eth0\n\
        link set eth0 up\n\
        route add default via 172.17.{network}.1\n"
    ))?;
    let place = Place { namespace: namespace.path(), ..cluster.node_place() };
    Ok((namespace, place))
}
