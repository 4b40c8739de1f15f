//! Processes: short ones that are run to their end, long ones that end with their handle.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

use crate::wait;

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// All that it wrote to its standard error.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

impl Finished {
    /// The standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The standard output of a process that must have succeeded.
    ///
    /// # Errors
    /// Its exit status and standard error, where it did not.
    pub fn ok(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.text());
        }
        bail!("{}: {}", self.status, self.stderr.trim())
    }
}

/// Runs `command` with `input` on its standard input, and kills it after `within`.
///
/// # Errors
/// Where it cannot be started, or had to be killed.
pub fn run(command: &mut Command, input: &[u8], within: Duration) -> Result<Finished> {
    let name = format!("{command:?}");
    // Files, not pipes: nothing can fill up, and a grandchild that holds one open is not waited for.
    let mut stdin = tempfile::tempfile()?;
    stdin.write_all(input)?;
    stdin.rewind()?;
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let start = Instant::now();
    let mut child = apart(command)
        .stdin(stdin)
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let ended = wait_for(&mut child, &name, within);
    let took = start.elapsed();
    let stderr = content(&mut stderr)?;
    let status = ended.with_context(|| String::from_utf8_lossy(&stderr).into_owned())?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Finished { status, stdout: content(&mut stdout)?, stderr, took })
}

/// In a process group of its own: Ctrl-C goes to the program that cleans up, not to what it uses.
fn apart(command: &mut Command) -> &mut Command {
    command.process_group(0)
}

fn content(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Waits for the child, and kills it where it does not end in time.
fn wait_for(child: &mut Child, name: &str, within: Duration) -> Result<ExitStatus> {
    let ended = wait::until(&format!("the end of {name}"), within, || Ok(child.try_wait()?));
    if ended.is_err() {
        // A child that has just ended by itself cannot be killed, and need not be.
        let _ended_already = child.kill();
        child.wait()?;
    }
    ended
}

/// A process that runs until it is told to end, at the latest when its handle is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output, both kinds, appended to the file `log`.
    ///
    /// Its standard input is a pipe that nobody writes to and that closes with this process, so that a
    /// child which heeds that does not outlive a killed test.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = apart(command)
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it wrote so far.
    pub fn output(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until it wrote `count` whole lines that contain `text`.
    ///
    /// # Errors
    /// Where it ended instead, or did not write them in time.
    pub fn wait_for_lines(&mut self, text: &str, count: usize) -> Result<()> {
        let what = format!("{count} lines with \"{text}\" from {}", self.name);
        wait::until(&what, wait::PATIENCE, || {
            let output = self.output()?;
            if output.split_inclusive('\n').filter(|line| is_line_with(line, text)).count() >= count
            {
                return Ok(Some(()));
            }
            self.ensure_running()?;
            Ok(None)
        })
    }

    /// Does nothing while it runs.
    ///
    /// # Errors
    /// Where it has ended: how, and the last that it wrote.
    pub fn ensure_running(&mut self) -> Result<()> {
        const LINES: usize = 20;
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let output = self.output()?;
        let lines: Vec<&str> = output.trim().lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n");
        bail!("{} ended ({status}): {last}", self.name)
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Closes its standard input, which ends those that heed it.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: kill takes plain numbers; the pid is our own child's, not yet waited for or, at
        // worst, just ended.
        if unsafe { libc::kill(pid, signal) } != 0 {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("signal {signal} to {}", self.name));
        }
        Ok(())
    }

    /// Whether each of its threads is stopped (proc(5), `/proc/PID/task/TID/stat`).
    pub fn is_stopped(&self) -> Result<bool> {
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end between two looks.
            let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
            if state != Some('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits for its end, and kills it where that does not come in time (an error).
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        wait_for(&mut self.child, &self.name, within)
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

fn is_line_with(line: &str, text: &str) -> bool {
    line.ends_with('\n') && line.contains(text)
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{} could not be killed: {error:#}", self.name);
        }
    }
}

/// Where the binary `name` of this package is: beside the running program, or a directory above the
/// test binaries.
///
/// # Errors
/// Where it was not built.
pub fn own_binary(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not beside {}: run `cargo xtask test`", here.display()))
}
