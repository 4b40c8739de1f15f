//! A connection that is opened now and used later.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::attack::{Attack, Report};
use crate::cluster::Cluster;
use crate::place::Place;
use crate::process::{self, Process};
use crate::wait::PATIENCE;

/// An open connection that waits for its turn.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    process: Process,
}

impl Cluster {
    /// Opens the connection of an attack in a process at `place`.
    pub fn hold(&self, place: &Place, attack: &Attack) -> Result<Held> {
        let path = self.fresh_file("held")?.with_extension("socket");
        let mut command = place.command(process::own_binary("podrole-vectors")?)?;
        command.arg("hold").arg(serde_json::to_string(attack)?).arg(&path);
        let log = path.with_extension("log");
        let mut process = Process::spawn("a held connection", &mut command, &log)?;
        process.wait_for_lines("opened", 1)?;
        Ok(Held { path, process })
    }
}

impl Held {
    /// Moves its process to another cgroup.
    pub fn move_to(&self, cgroup: &Path) -> Result<()> {
        std::fs::write(cgroup.join("cgroup.procs"), self.process.id().to_string())?;
        Ok(())
    }

    /// Lets it go on, and gives what came of it.
    pub fn report(self) -> Result<Report> {
        let mut process = UnixStream::connect(&self.path)?;
        process.set_read_timeout(Some(PATIENCE))?;
        let mut report = String::new();
        process.read_to_string(&mut report)?;
        Ok(serde_json::from_str(&report)?)
    }
}
