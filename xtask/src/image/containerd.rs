//! containerd, by which nodes have their images: imports the image and runs what is in it. It is Debian's,
//! unpacked and not installed, with all of its files in a place of its own.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::debian::archive::{Archive, Suite};
use crate::process;
use crate::workspace::Workspace;

/// What the imported image is called, before its version.
const NAME: &str = "podrole.test/podrole";

/// Imports an archive, runs its program with that argument, and returns what it says.
pub(super) fn run(
    workspace: &Workspace,
    place: &Path,
    image: &Path,
    version: &str,
    argument: &str,
) -> Result<String> {
    let containerd = Containerd::start(workspace, &place.join("containerd"))?;
    let mut import = containerd.ctr();
    process::output(import.args(["image", "import", "--base-name", NAME]).arg(image))?;
    let name = format!("{NAME}:{version}");
    let mut run = containerd.ctr();
    run.args(["run", "--rm", "--read-only", &name, "podrole-check", "/usr/bin/podrole", argument]);
    process::output(&mut run)
}

struct Containerd {
    daemon: Child,
    programs: PathBuf,
    socket: PathBuf,
}

impl Containerd {
    fn start(workspace: &Workspace, place: &Path) -> Result<Self> {
        // Of the oldest Debian that we run on: its C library is the one that all have.
        let suites = [Suite::Main("bookworm"), Suite::Security("bookworm-security")];
        let archive = Archive::open(workspace, "containerd", "amd64", &suites)?;
        let package = archive.versions("containerd")?.into_iter().next();
        let package = package.context("Debian's mirror has no containerd")?;
        let programs = archive.unpack(&package)?.join("usr/bin");
        fs::create_dir_all(place).context("cannot make a place for containerd")?;
        let (settings, socket) = (place.join("config.toml"), place.join("grpc"));
        let path = |name: &str| place.join(name).display().to_string();
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            path("root"),
            path("state"),
            socket.display().to_string(),
            path("ttrpc"),
        );
        fs::write(&settings, text).context("cannot write containerd's settings")?;
        let log = File::create(place.join("log")).context("cannot write containerd's log")?;
        let mut daemon = Command::new(programs.join("containerd"));
        daemon.arg("--config").arg(settings).env("PATH", with(&programs)?);
        daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let daemon = daemon.spawn().context("cannot start containerd")?;
        Ok(Self { daemon, programs, socket })
    }

    /// Its client, which waits until it is there.
    fn ctr(&self) -> Command {
        let mut ctr = Command::new(self.programs.join("ctr"));
        ctr.arg("--address").arg(&self.socket).args(["--connect-timeout", "20s"]);
        ctr
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// `PATH` with that directory, where its shims are, before all others.
fn with(directory: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = [directory.to_owned()].into_iter().chain(env::split_paths(&path));
    env::join_paths(all).context("a directory on PATH has a colon in its name")
}
