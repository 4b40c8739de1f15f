//! What a virtual machine boots with: busybox, the tests, the tools that they run, and a kernel's modules.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::kernels::Kernel;
use crate::debian::{self, Needed};
use crate::image::roots;
use crate::process;

const INIT: &str = include_str!("init.sh");

/// What makes it.
const MAKERS: [Needed; 5] = [
    Needed { command: "cpio", package: "cpio" },
    Needed { command: "depmod", package: "kmod" },
    Needed { command: "gzip", package: "gzip" },
    Needed { command: "strip", package: "binutils" },
    Needed { command: "xz", package: "xz-utils" },
];
/// What the tests run that busybox does not have, or not well enough.
const TOOLS: [Needed; 8] = [
    Needed { command: "curl", package: "curl" },
    Needed { command: "ip", package: "iproute2" },
    Needed { command: "mount", package: "mount" },
    Needed { command: "nft", package: "nftables" },
    Needed { command: "nsenter", package: "util-linux" },
    Needed { command: "setpriv", package: "util-linux" },
    Needed { command: "sysctl", package: "procps" },
    Needed { command: "tc", package: "iproute2" },
];
const BUSYBOX: &str = "/bin/busybox";
/// Of a kernel's modules, those of networks and what they need.
const MODULES: [&str; 8] = [
    "arch/x86/crypto",
    "crypto",
    "drivers/net/dummy.ko",
    "drivers/net/ipvlan",
    "drivers/net/macvlan.ko",
    "drivers/net/veth.ko",
    "lib",
    "net",
];

/// The programs that are run in it.
pub(super) struct Programs {
    pub(super) agent: PathBuf,
    /// Beside the agent: what the tests start themselves.
    pub(super) helpers: Vec<PathBuf>,
    /// By the name of their file.
    pub(super) tests: Vec<(String, PathBuf)>,
}

/// Installs what is needed.
pub(super) fn prepare() -> Result<()> {
    debian::install(&["busybox-static"])?;
    debian::install_for(&MAKERS)?;
    debian::install_for(&TOOLS)
}

/// Writes the archive for a kernel; all else is the same for each.
pub(super) fn write(place: &Path, kernel: &Kernel, programs: &Programs) -> Result<PathBuf> {
    let root = place.join(&kernel.release);
    if root.exists() {
        fs::remove_dir_all(&root).context("cannot remove an old initramfs")?;
    }
    let tree = Tree { root: root.clone() };
    for directory in ["bin", "dev", "etc", "lib/modules", "proc", "run", "sys", "tmp", "var/lib"] {
        fs::create_dir_all(root.join(directory))?;
    }
    tree.write("init", INIT)?;
    tree.write("etc/hosts", "127.0.0.1 localhost\n")?;
    fs::create_dir_all(root.join("etc/ssl/certs"))?;
    tree.write(roots::PATH.trim_start_matches('/'), &roots::pem())?;
    tree.copy(Path::new(BUSYBOX), "bin/busybox")?;
    fs::create_dir_all(root.join("sbin"))?;
    symlink(BUSYBOX, root.join("sbin/modprobe"))?;
    for tool in TOOLS {
        let program = process::on_path(tool.command);
        let program = program.with_context(|| format!("no {} on PATH", tool.command))?;
        tree.program(&program, &format!("usr/bin/{}", tool.command))?;
    }
    tree.stripped(&programs.agent, "tests/podrole")?;
    for helper in &programs.helpers {
        let name = helper.file_name().context("a helper has a name")?.to_string_lossy();
        tree.stripped(helper, &format!("tests/{name}"))?;
    }
    for (name, test) in &programs.tests {
        tree.stripped(test, &format!("tests/deps/{name}"))?;
    }
    tree.modules(kernel)?;
    tree.archive(&place.join(format!("{}.cpio.gz", kernel.release)))
}

struct Tree {
    root: PathBuf,
}

impl Tree {
    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.root.join(path);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn copy(&self, from: &Path, to: &str) -> Result<PathBuf> {
        let to = self.root.join(to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(to)
    }

    /// With the libraries that it is linked with.
    fn program(&self, from: &Path, to: &str) -> Result<()> {
        self.copy(from, to)?;
        for library in libraries(from)? {
            let relative = library.strip_prefix('/').unwrap_or(&library);
            if !self.root.join(relative).exists() {
                self.copy(Path::new(&library), relative)?;
            }
        }
        Ok(())
    }

    /// Without what only a debugger reads: all of it lies in memory.
    fn stripped(&self, from: &Path, to: &str) -> Result<()> {
        self.program(from, to)?;
        let to = self.root.join(to);
        process::output(Command::new("strip").arg("--strip-debug").arg(to))?;
        Ok(())
    }

    fn modules(&self, kernel: &Kernel) -> Result<()> {
        let place = self.root.join("lib/modules").join(&kernel.release);
        let mut copy = Command::new("cp");
        copy.current_dir(&kernel.modules).args(["--parents", "--recursive"]);
        for module in MODULES.map(|module| format!("kernel/{module}")) {
            let compressed = format!("{module}.xz");
            let names = [module, compressed];
            copy.args(names.iter().filter(|name| kernel.modules.join(name).exists()));
        }
        for index in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
            copy.args(kernel.modules.join(index).exists().then_some(index));
        }
        fs::create_dir_all(&place)?;
        process::output(copy.arg(&place)).context("cannot copy the kernel's modules")?;
        // busybox reads plain ones only.
        let mut unpack = Command::new("find");
        unpack.arg(&place).args(["-name", "*.ko.xz", "-exec", "xz", "--decompress", "{}", "+"]);
        process::output(&mut unpack)?;
        process::output(Command::new("depmod").arg("-b").arg(&self.root).arg(&kernel.release))?;
        Ok(())
    }

    fn archive(&self, to: &Path) -> Result<PathBuf> {
        let mut pack = Command::new("sh");
        pack.current_dir(&self.root);
        pack.args(["-c", "find . | cpio --quiet -o -H newc | gzip -1 > \"$1\"", "sh"]).arg(to);
        process::output(&mut pack).context("cannot pack the initramfs")?;
        Ok(to.to_owned())
    }
}

/// The files that a program is linked with, by ldd(1).
fn libraries(program: &Path) -> Result<BTreeSet<String>> {
    // A static one has none, which ldd calls a failure.
    let said = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}
