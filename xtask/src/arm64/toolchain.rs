//! A compiler for `aarch64-unknown-linux-gnu`, on machines of another kind: rustup's where it has the
//! target's library, else Debian's with the library of its package for arm64.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::debian::archive::{Archive, Package, Suite};
use crate::workspace::Workspace;
use crate::{debian, process};

pub(crate) const TRIPLE: &str = "aarch64-unknown-linux-gnu";
/// The C compiler and library for what is not Rust.
const CROSS: [&str; 2] = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];
const LINKER: &str = "aarch64-linux-gnu-gcc";
const DEBIAN: [&str; 2] = ["rustc-web", "cargo-web"];
const LIBRARY: &str = "libstd-rust-web-dev";
const RUSTC: &str = "/usr/bin/rustc";
/// Seconds that rustup may take, should its server not answer.
const DEADLINE: &str = "120";

/// A way to build for arm64.
pub(crate) struct Arm64 {
    /// Of Debian's compiler with both libraries; none where rustup's does.
    sysroot: Option<PathBuf>,
}

impl Arm64 {
    /// The first way that is open; installs what is missing.
    pub(crate) fn find_or_install(workspace: &Workspace) -> Result<Self> {
        debian::install(&CROSS).context("no C compiler for arm64")?;
        if rustup_has_target(workspace) {
            return Ok(Self { sysroot: None });
        }
        let sysroot = debians(workspace).context("no Rust library for arm64")?;
        Ok(Self { sysroot: Some(sysroot) })
    }

    pub(crate) fn cargo(&self, workspace: &Workspace) -> Command {
        let mut cargo = if self.sysroot.is_none() {
            workspace.cargo()
        } else {
            let mut cargo = workspace.command("/usr/bin/cargo");
            for name in ["LD_LIBRARY_PATH", "RUSTUP_TOOLCHAIN", "RUSTC", "RUSTDOC"] {
                cargo.env_remove(name);
            }
            cargo.env("RUSTC", RUSTC);
            cargo
        };
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
        cargo.env("CC_aarch64_unknown_linux_gnu", LINKER);
        cargo
    }

    pub(crate) fn flags(&self) -> Option<String> {
        self.sysroot.as_ref().map(|sysroot| format!("--sysroot={}", sysroot.display()))
    }
}

fn rustup_has_target(workspace: &Workspace) -> bool {
    let installed = || {
        let listed =
            process::output(workspace.command("rustup").args(["target", "list", "--installed"]));
        listed.is_ok_and(|listed| listed.lines().any(|line| line == TRIPLE))
    };
    if process::on_path("rustup").is_none() || installed() {
        return installed();
    }
    println!("asking rustup for {TRIPLE}");
    let mut add = workspace.command("timeout");
    process::succeeds(add.args(["--foreground", DEADLINE, "rustup", "target", "add", TRIPLE]))
}

/// Debian's compiler looks for libraries in one place: that of its own with the other one beside it.
fn debians(workspace: &Workspace) -> Result<PathBuf> {
    debian::install(&DEBIAN)?;
    let version = process::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${Version}",
        "rustc-web",
    ]))?;
    let suites = ["bookworm", "trixie"].map(Suite::Main);
    let security = ["bookworm-security", "trixie-security"].map(Suite::Security);
    let suites = [suites, security].concat();
    let archive = Archive::open(workspace, "arm64", "arm64", &suites)?;
    let library = archive.unpack(&Package::new(LIBRARY, version.trim()))?;
    let sysroot = workspace.target().join("arm64-sysroot");
    if sysroot.exists() {
        fs::remove_dir_all(&sysroot).context("cannot remove an old sysroot")?;
    }
    let rustlib = sysroot.join("lib/rustlib");
    fs::create_dir_all(&rustlib).context("cannot make a sysroot")?;
    let from = library.join("usr/lib/rustlib").join(TRIPLE);
    if !from.is_dir() {
        bail!("{LIBRARY} for arm64 has no {TRIPLE}");
    }
    symlink(from, rustlib.join(TRIPLE))?;
    let host = process::output(Command::new(RUSTC).args(["--print", "target-libdir"]))?;
    let host = Path::new(host.trim()).parent().context("a library lies in a directory")?;
    symlink(host, rustlib.join(host.file_name().context("a target has a name")?))?;
    Ok(sysroot)
}
