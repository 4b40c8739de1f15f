//! Another way from the node to the metadata service.

use anyhow::Result;

use crate::cluster::Cluster;

impl Cluster {
    /// As a CNI adds an ENI, and routes the metadata service through it.
    pub fn second_uplink(&self) -> Result<()> {
        let outside = self.outside_place();
        self.node_place().ip(&format!(
            "\
            link add eni1 address 02:00:00:00:03:10 type veth \
                peer name eth1 address 02:00:00:00:03:01 netns {}\n\
            address add 10.0.3.10/24 dev eni1\n\
            link set eni1 up\n\
            neighbour replace 10.0.3.1 lladdr 02:00:00:00:03:01 dev eni1\n",
            outside.namespace.display()
        ))?;
        outside.ip("address add 10.0.3.1/24 dev eth1\nlink set eth1 up\n")?;
        self.node_place().ip("route add 169.254.169.254/32 via 10.0.3.1 dev eni1\n")
    }
}
