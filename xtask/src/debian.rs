//! Debian's packages, where this is Debian and we may install some.

pub(crate) mod archive;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// The oldest Debian that has what we install.
const OLDEST: u32 = 12;

/// What a package is wanted for when its command is not there.
pub(crate) struct Needed {
    /// A program on `PATH`.
    pub(crate) command: &'static str,
    /// The package that has it.
    pub(crate) package: &'static str,
}

/// Whether this user is root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Says why packages cannot be installed here, if so.
pub(crate) fn refuses() -> Option<&'static str> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if version(&release).is_none_or(|version| version < OLDEST) {
        Some("this is not Debian 12 or later")
    } else if !is_root() {
        Some("only root may install Debian's packages")
    } else {
        None
    }
}

/// Those of these packages that are not installed.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status} ${Package}\n"]).args(packages);
    // The exit code says only that one of them is unknown.
    let listed = query.output().map(|output| output.stdout).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    let installed: HashSet<_> =
        listed.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    packages.iter().copied().filter(|package| !installed.contains(package)).collect()
}

/// Installs those of these packages that are not there, and says so.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    /// apt lets nobody else in while it installs.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if let Some(reason) = refuses() {
        bail!("{reason}; missing: {}", missing.join(" "));
    }
    println!("installing Debian packages: {}", missing.join(" "));
    // All of them, so that those that are there but too old for the others are renewed.
    if process::succeeds(&mut apt_get_install(packages)) {
        return Ok(());
    }
    renew_lists()?;
    process::output(&mut apt_get_install(packages)).context("cannot install Debian packages")?;
    Ok(())
}

fn renew_lists() -> Result<()> {
    println!("renewing Debian's package lists");
    process::output(apt_get().arg("update")).context("cannot renew Debian's package lists")?;
    Ok(())
}

/// Installs the packages of those commands that are not there.
pub(crate) fn install_for(needed: &[Needed]) -> Result<()> {
    let absent = needed.iter().filter(|needed| process::on_path(needed.command).is_none());
    let packages: Vec<_> = absent.map(|needed| needed.package).collect();
    if packages.is_empty() { Ok(()) } else { install(&packages) }
}

/// What a person would type.
pub(crate) fn command_line(packages: &[&str]) -> String {
    let sudo = if is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get install --no-install-recommends {}", packages.join(" "))
}

fn apt_get_install(packages: &[&str]) -> Command {
    let mut command = apt_get();
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    command
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Others (unattended-upgrades) may hold the lock for a while.
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// Debian's major version by os-release(5); none for its relatives and for unreleased ones.
fn version(release: &str) -> Option<u32> {
    let field = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim_matches('"'))
    };
    if field("ID")? != "debian" {
        return None;
    }
    field("VERSION_ID")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_is_told_by_its_id_not_its_relatives() {
        assert_eq!(version("PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n"), Some(12));
        assert_eq!(version("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n"), None);
        assert_eq!(version("ID=debian\nPRETTY_NAME=\"Debian forky/sid\"\n"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn a_package_that_does_not_exist_is_missing() {
        assert_eq!(missing(&["no-such-package-anywhere"]), ["no-such-package-anywhere"]);
    }
}
