//! What a console said of the tests, and the tables that come of it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

use super::machine::Layout;

/// What came of one machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// As the kernel says it.
    pub(super) release: String,
    /// Debian's version of it.
    pub(super) package: String,
    pub(super) layout: Layout,
    pub(super) files: Vec<File>,
    /// What podrole said where it was refused, with the exit code.
    pub(super) refusals: Vec<(i32, String)>,
}

/// What came of one test file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) passed: usize,
    pub(super) failed: Vec<String>,
    pub(super) ignored: usize,
    /// Of the file's process; none where the machine ended first.
    pub(super) status: Option<i32>,
}

impl File {
    fn is_good(&self) -> bool {
        self.failed.is_empty() && self.status == Some(0)
    }

    fn shown(&self) -> String {
        let all = self.passed + self.failed.len();
        match self.status {
            Some(0) if self.failed.is_empty() => format!("{all}"),
            _ => format!("**{} of {all}**", self.passed),
        }
    }
}

impl Outcome {
    /// Reads the lines that `init.sh` marks with `@`, and those of test harnesses.
    pub(super) fn read(console: &str, package: &str, layout: Layout) -> Result<Self> {
        let mut outcome = Self {
            release: String::new(),
            package: package.to_owned(),
            layout,
            files: Vec::new(),
            refusals: Vec::new(),
        };
        let mut is_done = false;
        for line in console.lines() {
            is_done |= line == "@done";
            outcome.take(line);
        }
        if !is_done {
            bail!("the machine ended before its tests did");
        }
        Ok(outcome)
    }

    fn take(&mut self, line: &str) {
        if let Some(kernel) = line.strip_prefix("@kernel ") {
            kernel.split(' ').next().unwrap_or_default().clone_into(&mut self.release);
        } else if let Some(name) = line.strip_prefix("@file ") {
            self.files.push(File { name: name.to_owned(), ..File::default() });
        } else if let Some(code) = line.strip_prefix("@refused ") {
            self.refusals.push((code.parse().unwrap_or(-1), String::new()));
        } else if let Some(file) = self.files.last_mut() {
            if let Some(status) = line.strip_prefix("@ended ") {
                file.status = status.parse().ok();
            } else if let Some((name, result)) = test_result(line) {
                match result {
                    "ok" => file.passed += 1,
                    "FAILED" => file.failed.push(name.to_owned()),
                    _ => file.ignored += 1,
                }
            }
        } else if let Some((_, said)) = self.refusals.last_mut()
            && !line.starts_with('@')
            && said.is_empty()
        {
            line.clone_into(said);
        }
    }

    /// Why this is not what it should be, if so.
    pub(super) fn faults(&self) -> Vec<String> {
        let at = format!("{} ({})", self.release, self.layout.name());
        if self.layout == Layout::V1 {
            let is_good = self.refusals.len() == 2
                && self.refusals.iter().all(|(code, said)| *code == 1 && said.contains("cgroup2"));
            return if is_good { Vec::new() } else { vec![format!("{at}: {:?}", self.refusals)] };
        }
        let bad = self.files.iter().filter(|file| !file.is_good());
        let mut faults: Vec<_> = bad
            .map(|file| format!("{at}: {}: {:?}, {:?}", file.name, file.status, file.failed))
            .collect();
        if self.files.is_empty() {
            faults.push(format!("{at}: no test was run"));
        }
        faults
    }
}

/// `test NAME ... RESULT`
fn test_result(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((name, result.split([' ', ',']).next()?))
}

/// A row for each test file, a column for each machine; then what podrole says where it is refused.
pub(super) fn tables(outcomes: &[Outcome]) -> Result<String> {
    let (refused, tested): (Vec<_>, Vec<_>) =
        outcomes.iter().partition(|outcome| outcome.layout == Layout::V1);
    let first = tested.first().context("nothing was run")?;
    let mut text = String::from("| tests |");
    for outcome in &tested {
        write!(text, " {} {} |", outcome.release, outcome.layout.name())?;
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(tested.len()));
    text.push('\n');
    for file in &first.files {
        write!(text, "| [{0}](../tests/tests/{1}) |", file.name, source(&file.name))?;
        for outcome in &tested {
            let same = outcome.files.iter().find(|other| other.name == file.name);
            write!(text, " {} |", same.map_or_else(|| "–".to_owned(), File::shown))?;
        }
        text.push('\n');
    }
    let packages: Vec<_> = packages(outcomes);
    write!(text, "\nDebian's packages: {}.\n", packages.join(", "))?;
    let refused: Vec<_> = refused.into_iter().filter(|one| one.faults().is_empty()).collect();
    if let Some((_, said)) = refused.first().and_then(|one| one.refusals.first()) {
        let releases: Vec<_> = refused.iter().map(|one| one.release.as_str()).collect();
        write!(
            text,
            "\nWith cgroup v1 alone (tried on {}) podrole ends with exit code 1:\n\n```text\n{said}\n```\n",
            releases.join(", ")
        )?;
    }
    Ok(text)
}

fn packages(outcomes: &[Outcome]) -> Vec<&str> {
    let mut packages: Vec<_> = outcomes.iter().map(|outcome| outcome.package.as_str()).collect();
    packages.dedup();
    packages
}

/// Where a test file lies, below `tests/tests`.
fn source(name: &str) -> String {
    const DIRECTORIES: [&str; 3] = ["bypass", "conformance", "identity"];
    if DIRECTORIES.contains(&name) { format!("{name}/main.rs") } else { format!("{name}.rs") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "@kernel 5.10.0-46-cloud-amd64 v2\n@file redirect\ntest one ... ok\n\
                           test two ... FAILED\ntest three ... ignored, needs moto\n@ended 101\n\
                           @file pins\ntest four ... ok\n@ended 0\n@done\n";

    fn read(console: &str, layout: Layout) -> Outcome {
        Outcome::read(console, "5.10.262-1", layout).unwrap()
    }

    #[test]
    fn results_are_counted_file_by_file() {
        let outcome = read(CONSOLE, Layout::V2);
        let [redirect, pins] = outcome.files.as_slice() else { panic!("{outcome:?}") };
        assert_eq!((redirect.passed, redirect.ignored, redirect.status), (1, 1, Some(101)));
        assert_eq!(redirect.failed, ["two"]);
        assert_eq!((pins.passed, pins.status), (1, Some(0)));
        let faults = outcome.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("5.10.0-46-cloud-amd64 (v2): redirect"), "{faults:?}");
        let tables = tables(&[outcome]).unwrap();
        assert!(
            tables.contains("| [redirect](../tests/tests/redirect.rs) | **1 of 2** |"),
            "{tables}"
        );
    }

    #[test]
    fn a_machine_that_ends_early_is_no_success() {
        assert!(Outcome::read("@kernel 6.1 v2\n@file pins\n", "6.1", Layout::V2).is_err());
        let silent = read("@kernel 6.1 v2\n@done\n", Layout::V2);
        assert_eq!(silent.faults(), ["6.1 (v2): no test was run"]);
    }

    #[test]
    fn a_kernel_without_cgroup2_must_be_refused_with_a_sentence() {
        let console =
            "@kernel 6.1 v1\n@refused 1\nno cgroup2 here\n@refused 1\nnot of cgroup2\n@done\n";
        assert!(read(console, Layout::V1).faults().is_empty());
        assert_eq!(
            read(&console.replace("@refused 1", "@refused 0"), Layout::V1).faults().len(),
            1
        );
    }
}
