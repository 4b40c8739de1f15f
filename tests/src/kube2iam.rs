//! kube2iam on the node: its server, and what it leaves in iptables.

use std::net::IpAddr;

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;
use crate::pod::Pod;
use crate::pretend::node;
use crate::process::{self, Process};
use crate::wait::PATIENCE;

/// Where it listens.
pub const ADDRESS: &str = "10.0.0.10:8181";

impl Cluster {
    /// Starts it, with the roles that pods have by their annotation; all others have the node's.
    pub fn kube2iam(&self, roles: &[(&Pod<'_>, &str)]) -> Result<Process> {
        let mut command = self.node_place().command(process::own_binary("podrole-pretend")?)?;
        command.args(["kube2iam", "--until-stdin-closes", "--listen", ADDRESS]);
        command.arg("--log").arg(self.directory().join("kube2iam.requests"));
        command.args(["--default-role", node::ROLE]);
        for (pod, role) in roles {
            let address = IpAddr::from(pod.address().context("a pod without addresses")?.v4());
            command.arg("--role").arg(format!("{address}={role}"));
        }
        let output = self.directory().join("kube2iam.log");
        let mut process = Process::spawn("the pretend kube2iam", &mut command, &output)?;
        process.wait_for_lines("listening on", 1)?;
        self.redirect_to_kube2iam()?;
        Ok(process)
    }

    /// As its `iptables -t nat -A PREROUTING -d 169.254.169.254/32 -i eni+ -p tcp --dport 80 -j DNAT` does.
    pub fn redirect_to_kube2iam(&self) -> Result<()> {
        self.nft(&format!(
            "table ip kube2iam {{
                chain PREROUTING {{
                    type nat hook prerouting priority dstnat; policy accept;
                    iifname != \"up0\" ip daddr 169.254.169.254 tcp dport 80 dnat to {ADDRESS}
                }}
            }}"
        ))
    }

    /// Removes that.
    pub fn remove_kube2iams_redirect(&self) -> Result<()> {
        self.nft("delete table ip kube2iam")
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let mut command = self.node_place().command("nft")?;
        process::run(command.args(["-f", "-"]), rules.as_bytes(), PATIENCE)?.ok()?;
        Ok(())
    }
}
