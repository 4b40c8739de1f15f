//! A clock that processes share and the test moves: the time of day, and if time is to pass, the clock that
//! never jumps with it. The kernel's own time goes on as it is.
//!
//! libfaketime does the like, but where the time of day alone is moved it breaks waits of the process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::agent::AgentBuilder;
use crate::process;
use crate::wait::PATIENCE;

const SOURCE: &str = include_str!("clock/preload.c");

/// The clock.
#[derive(Debug)]
pub struct Clock {
    file: File,
    path: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// One that is right, kept in `directory`.
    pub fn new(directory: &Path) -> Result<Self> {
        let (path, source) = (directory.join("clock"), directory.join("clock.c"));
        let library = directory.join("clock.so");
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        process::run(&mut compiler, b"", PATIENCE)?.ok().context("compile the clock")?;
        fs::write(&path, [0; 16])?;
        let file = File::options().write(true).open(&path)?;
        Ok(Self { file, path, library })
    }

    /// Lets so many seconds have passed since it was made, beside those that have.
    pub fn pass(&self, seconds: i64) -> Result<()> {
        self.set(seconds, seconds)
    }

    /// Sets the time of day alone, so many seconds ahead of what it would be, or behind.
    pub fn step(&self, seconds: i64) -> Result<()> {
        self.set(seconds, 0)
    }

    fn set(&self, of_day: i64, steady: i64) -> Result<()> {
        self.file.write_all_at(&of_day.to_ne_bytes(), 0)?;
        self.file.write_all_at(&steady.to_ne_bytes(), 8)?;
        Ok(())
    }

    /// What a process is started with so that it goes by this clock.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let text = |path: &Path| path.display().to_string();
        [("LD_PRELOAD", text(&self.library)), ("PODROLE_TEST_CLOCK", text(&self.path))]
    }
}

impl AgentBuilder<'_> {
    /// By this clock.
    pub fn by(self, clock: &Clock) -> Self {
        clock.environment().iter().fold(self, |agent, (name, value)| agent.env(name, value))
    }
}
