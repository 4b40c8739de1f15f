//! `fuzz`: lets libFuzzer, guided by the coverage that it sees, try inputs on podrole's fuzz targets.
//!
//! The stable compiler does: LLVM's pass for the counters is asked for by name (`tests/fuzz/rustc.sh`), for
//! podrole alone, so that its dependencies are not built again.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::debian::{self, Needed};
use crate::programs::{self, Programs};
use crate::workspace::Workspace;
use crate::{build, process};

const CORPUS: &str = "tests/fuzz/corpus";
const LIBRARY_COMPILER: Needed = Needed { command: "g++", package: "g++" };
/// How much of a fuzzer's output is shown when it has found something, in lines.
const LAST_LINES: usize = 40;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The time for each target
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u32,
    /// Only these targets, by the names of their corpora in tests/fuzz/corpus
    targets: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let all = targets(workspace)?;
    if let Some(unknown) = arguments.targets.iter().find(|target| !all.contains(target)) {
        bail!("{unknown:?} is no target; there are {}", all.join(", "));
    }
    let chosen = if arguments.targets.is_empty() { all } else { arguments.targets.clone() };
    let programs = programs::build(workspace)?;
    each(workspace, &programs, arguments.seconds, chosen)
}

/// Every target for so many seconds.
pub(crate) fn all(workspace: &Workspace, programs: &Programs, seconds: u32) -> Result<()> {
    each(workspace, programs, seconds, targets(workspace)?)
}

/// The targets have the names of their corpora, which a unit test of podrole holds.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let corpora = fs::read_dir(workspace.root().join(CORPUS)).context(CORPUS)?;
    let mut names = Vec::new();
    for corpus in corpora {
        names.push(corpus?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// As many at once as there are processors.
fn each(
    workspace: &Workspace,
    programs: &Programs,
    seconds: u32,
    targets: Vec<String>,
) -> Result<()> {
    let fuzzer = Fuzzer { program: build(workspace, programs)?, workspace, seconds };
    let waiting = Mutex::new(VecDeque::from(targets));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || {
        while let Some(target) = next() {
            println!("    {target}: {}", fuzzer.fuzz(&target)?);
        }
        Ok(())
    };
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let ended = |worker: thread::ScopedJoinHandle<'_, Result<()>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(ended).collect::<Vec<_>>().into_iter().collect()
    })
}

fn build(workspace: &Workspace, programs: &Programs) -> Result<PathBuf> {
    debian::install_for(&[LIBRARY_COMPILER])?;
    let mut cargo = build::cargo(workspace, programs);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", workspace.root().join("tests/fuzz/rustc.sh"));
    // With the packages and targets of `build::debug_agent`, so that what they depend on is shared.
    cargo.arg("build").args(build::USERSPACE).args(["--package", "podrole-fuzz", "--examples"]);
    process::run(cargo.args(["--bin", "podrole-fuzz"])).context("cannot build the fuzzers")?;
    Ok(workspace.target().join("debug/podrole-fuzz"))
}

struct Fuzzer<'a> {
    program: PathBuf,
    workspace: &'a Workspace,
    seconds: u32,
}

impl Fuzzer<'_> {
    /// Tries one target; says how much it tried and saw.
    fn fuzz(&self, target: &str) -> Result<String> {
        let results = self.workspace.target().join("fuzz");
        let grown = results.join("corpus").join(target);
        fs::create_dir_all(&grown).context("cannot make a directory for the fuzzers")?;
        let log = results.join(format!("{target}.log"));
        let output = File::create(&log).context("cannot write the fuzzer's log")?;
        let mut command = self.workspace.command(&self.program);
        command.env("PODROLE_FUZZ_TARGET", target);
        command.arg(format!("-max_total_time={}", self.seconds));
        command.args(["-timeout=5", "-rss_limit_mb=1024", "-max_len=4096"]);
        let artifact = results.join(format!("{target}-"));
        command.arg(format!("-artifact_prefix={}", artifact.display()));
        let words = self.workspace.root().join("tests/fuzz/words.dict");
        command.arg(format!("-dict={}", words.display()));
        // What it finds goes to the first corpus; the one of the repository is only read.
        command.arg(grown).arg(self.workspace.root().join(CORPUS).join(target));
        let status = command.stdout(output.try_clone()?).stderr(output).status();
        let said = fs::read(&log).context("cannot read the fuzzer's log")?;
        let said = String::from_utf8_lossy(&said);
        if !status.context("cannot start the fuzzer")?.success() {
            bail!("{}", found(target, &said, &command));
        }
        summary(&said).with_context(|| format!("no summary in {}", log.display()))
    }
}

fn found(target: &str, said: &str, command: &Command) -> String {
    let lines: Vec<_> = said.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n");
    let program = Path::new(command.get_program());
    format!(
        "{last}\n{target} breaks on an input, see above. Try it alone by PODROLE_FUZZ_TARGET={target} {} \
         FILE, mend it, and keep the file in {CORPUS}/{target}/",
        program.display()
    )
}

/// From libFuzzer's last line: `#1234 DONE cov: 87 ft: 106 corp: 9/210b lim: …`.
fn summary(said: &str) -> Option<String> {
    let last = said.lines().rev().find(|line| line.contains("DONE "))?;
    let mut words = last.split_whitespace();
    let runs = words.next()?.strip_prefix('#')?;
    let mut after =
        |name: &str| words.by_ref().skip_while(|word| *word != name).nth(1).map(str::to_owned);
    let (coverage, features) = (after("cov:")?, after("ft:")?);
    Some(format!("{runs} executions, coverage {coverage}, features {features}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_fuzzer_is_its_summary() {
        let said = "#2\tINITED cov: 1 ft: 1\n\
                    #509385\tDONE   cov: 87 ft: 106 corp: 9/210b lim: 4096 exec/s: 72769 rss: 29Mb\n\
                    Done 509385 runs in 7 second(s)\n";
        let expected = "509385 executions, coverage 87, features 106";
        assert_eq!(summary(said).as_deref(), Some(expected));
        assert_eq!(summary("no fuzzer"), None);
    }
}
