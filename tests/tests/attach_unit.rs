//! `deploy/podrole-attach.service`, the systemd unit for `podrole attach`: what it promises, and that
//! the binary can do it with the rights that the unit leaves it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::METADATA;
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;

const NAME: &str = "podrole-attach.service";
/// Where the unit says that the binary is.
const BINARY: &str = "/usr/local/bin/podrole";

fn unit() -> Result<String> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    fs::read_to_string(deploy.join(NAME)).context(NAME)
}

fn value<'u>(unit: &'u str, name: &str) -> Result<&'u str> {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let value = values.next().with_context(|| format!("{name} is not set"))?;
    ensure!(values.next().is_none(), "{name} is set twice");
    Ok(value)
}

#[test]
fn kubelet_starts_behind_the_forward_guard_and_does_not_wait_for_itself() -> Result<()> {
    let unit = unit()?;
    assert_eq!(value(&unit, "Before")?, "kubelet.service");
    assert_eq!(value(&unit, "After")?, "network-online.target");
    // A unit of the type `exec` has started when ExecStartPre has ended and ExecStart has begun
    // (systemd.service(5)).
    assert_eq!(value(&unit, "Type")?, "exec");
    assert_eq!(value(&unit, "ExecStartPre")?, format!("{BINARY} attach"));
    assert_eq!(value(&unit, "ExecStart")?, format!("{BINARY} attach --wait"));
    assert_eq!(value(&unit, "Restart")?, "on-failure");
    for wrong in ["ExecStop", "PrivateNetwork=yes", "ProtectKernelTunables=yes"] {
        let is_set = unit.lines().any(|line| line.starts_with(wrong));
        assert!(!is_set, "{wrong} is set");
    }
    Ok(())
}

#[test]
fn systemd_has_nothing_to_say_against_it() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join(NAME);
    fs::write(&file, unit()?.replace(BINARY, &agent::binary()?.display().to_string()))?;
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg(&file).env("SYSTEMD_LOG_LEVEL", "warning");
    let said = process::run(&mut verify, b"", PATIENCE).context("systemd-analyze")?;
    let about_it: Vec<_> = said.stderr.lines().filter(|line| line.contains(NAME)).collect();
    assert!(said.status.success() && about_it.is_empty(), "{said:?}");
    Ok(())
}

#[test]
fn the_rights_that_it_leaves_are_enough() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let unit = unit()?;
        let rights = value(&unit, "CapabilityBoundingSet")?.to_lowercase().replace("cap_", "");
        let rights: Vec<_> = rights.split(' ').map(|right| format!("+{right}")).collect();
        let mut attach = cluster.node_place().command("setpriv")?;
        attach.arg(format!("--bounding-set=-all,{}", rights.join(","))).arg("--no-new-privs");
        attach.arg(agent::binary()?).arg("attach").arg("--pod-cgroup").arg(cluster.pod_cgroup());
        attach.arg("--bpf-fs").arg(cluster.bpf_fs.path());
        process::run(&mut attach, b"", PATIENCE)?.ok()?;
        assert!(pod.is_refused(METADATA)?);
        Ok(())
    })
}
