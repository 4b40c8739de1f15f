//! The node's network settings that podrole depends on: reserved where it may, told of where it must.

use anyhow::Result;
use podrole_tests::cluster::Cluster;
use podrole_tests::place::Place;
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;

const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";

fn sysctl(node: &Place, arguments: &[&str]) -> Result<String> {
    let mut command = node.command("sysctl")?;
    Ok(process::run(command.args(arguments), b"", PATIENCE)?.ok()?.trim().to_owned())
}

#[test]
fn podroles_ports_are_kept_from_the_nodes_own_connections() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        sysctl(&node, &["-w", &format!("{RESERVED}=9100,30000-30010")])?;
        let _agent = cluster.agent().start()?;
        assert_eq!(sysctl(&node, &["-n", RESERVED])?, "9100,16925-16926,30000-30010");
        Ok(())
    })
}

#[test]
fn source_routes_are_told_of() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let setting = "net.ipv4.conf.all.accept_source_route";
        sysctl(&node, &["-w", &format!("{setting}=0")])?;
        let quiet = cluster.agent().start()?;
        assert!(!quiet.log()?.contains(setting), "{}", quiet.log()?);
        drop(quiet);
        sysctl(&node, &["-w", &format!("{setting}=1")])?;
        let mut agent = cluster.agent().start()?;
        agent.wait_for_log(setting)
    })
}
