//! A virtual machine: QEMU, with nothing but a console.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::kernels::Kernel;
use crate::debian::{self, Needed};
use crate::process;

const QEMU: Needed = Needed { command: "qemu-system-x86_64", package: "qemu-system-x86" };

/// How cgroups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Layout {
    /// cgroup2 alone.
    V2,
    /// cgroup2 beside hierarchies of version 1.
    Hybrid,
    /// Version 1 alone, which podrole refuses.
    V1,
}

impl Layout {
    pub(super) const ALL: [Self; 3] = [Self::V2, Self::Hybrid, Self::V1];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
            Self::V1 => "v1",
        }
    }
}

pub(super) fn prepare() -> Result<()> {
    debian::install_for(&[QEMU])
}

/// Boots a kernel and waits until the machine turns itself off, at most so many seconds; returns what
/// the console said.
pub(super) fn run(
    kernel: &Kernel,
    initramfs: &Path,
    (layout, only): (Layout, &[String]),
    log: &Path,
    seconds: u32,
) -> Result<String> {
    let console = File::create(log).context("cannot write the console's log")?;
    // Others may need the processors more than this does.
    let mut qemu = Command::new("nice");
    qemu.args(["timeout", "--foreground", &seconds.to_string(), QEMU.command]);
    qemu.args(processor());
    qemu.args(["-nodefaults", "-display", "none", "-no-reboot", "-m", "3072"]);
    qemu.args(["-serial", "stdio"]).arg("-kernel").arg(&kernel.image);
    qemu.arg("-initrd").arg(initramfs).arg("-append");
    qemu.arg(format!(
        "console=ttyS0 panic=-1 quiet podrole.layout={} podrole.only={}",
        layout.name(),
        only.join(",")
    ));
    qemu.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
    let status = qemu.status().context("cannot start QEMU")?;
    let said = fs::read(log).context("cannot read the console's log")?;
    let said = String::from_utf8_lossy(&said).replace('\r', "");
    if !status.success() {
        bail!("{status}: {}; its console: {}", process::shown(&qemu), log.display());
    }
    Ok(said)
}

/// Hardware's virtualisation where the processor says that it has it: a /dev/kvm alone does not tell.
///
/// Elsewhere the processor is emulated, and its clock goes by its instructions: a busy host makes the
/// machine slower, and not its tests late.
fn processor() -> &'static [&'static str] {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let virtualises = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    if virtualises && PathBuf::from("/dev/kvm").exists() {
        &["-accel", "kvm", "-cpu", "host", "-smp", "2"]
    } else {
        &["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu", "max", "-smp", "1"]
    }
}
