//! What a console said of the tests, and the table that comes of it.

use anyhow::{Result, bail};

use super::machine::Layout;

const HEAD: &str = "| kernel | cgroups | Debian's package | tests that passed |";

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
    /// What `--only` left out.
    pub(super) left_out: usize,
    /// Of the file's process; none where the machine ended first.
    pub(super) status: Option<i32>,
}

impl File {
    fn is_good(&self) -> bool {
        self.failed.is_empty() && self.status == Some(0)
    }

    /// How many passed; where not all did, which did not.
    fn shown(&self) -> String {
        let Self { name, passed, failed, .. } = self;
        let all = passed + failed.len() + self.left_out;
        if self.is_good() && self.left_out == 0 {
            return format!("{name} {passed}");
        }
        if self.is_good() {
            return format!("{name} {passed} of {all}, the others not run");
        }
        let failed = failed.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ");
        let failed = if failed.is_empty() { "ended early".to_owned() } else { failed };
        format!("**{name} {passed} of {all}** ({failed})")
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
            } else if let Some(result) = line.strip_prefix("test result: ") {
                file.left_out = left_out(result).unwrap_or(0);
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

/// Of a file's summary: `…; 7 filtered out; …`
fn left_out(summary: &str) -> Option<usize> {
    let (before, _) = summary.split_once(" filtered out")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// `test NAME ... RESULT`
fn test_result(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((name, result.split([' ', ',']).next()?))
}

/// What the page says of a machine: a row of its table.
pub(super) fn row(outcome: &Outcome) -> String {
    let Outcome { package, files, refusals, .. } = outcome;
    let result = if outcome.layout == Layout::V1 {
        let said =
            refusals.iter().map(|(code, said)| format!("refused, exit code {code}: `{said}`"));
        let mut said: Vec<_> = said.collect();
        said.dedup();
        said.join("; ")
    } else {
        files.iter().map(File::shown).collect::<Vec<_>>().join(", ")
    };
    format!("{} {package} | {result} |", key(outcome))
}

/// How the row of a machine begins.
fn key(outcome: &Outcome) -> String {
    format!("| {} | {} |", outcome.release, outcome.layout.name())
}

/// The table with the row of a machine, which takes the place of the one of an earlier run.
pub(super) fn with_row(table: &str, outcome: &Outcome) -> String {
    let key = key(outcome);
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with(HEAD));
    let mut rows: Vec<_> = rows.filter(|row| !row.starts_with(&key)).map(str::to_owned).collect();
    rows.push(row(outcome));
    rows.sort_by_key(|row| (series(row), row.clone()));
    format!("{HEAD}\n|---|---|---|---|\n{}\n", rows.join("\n"))
}

/// The numbers of the version that a row begins with: 6.12 is more than 6.1.
fn series(row: &str) -> Vec<u32> {
    let version = row.split(' ').nth(1).unwrap_or_default();
    let numbers = version.split(|c: char| !c.is_ascii_digit());
    numbers.map_while(|number| number.parse().ok()).collect()
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
        assert_eq!(
            row(&outcome),
            "| 5.10.0-46-cloud-amd64 | v2 | 5.10.262-1 | **redirect 1 of 2** (`two`), pins 1 |"
        );
    }

    #[test]
    fn a_later_run_of_a_machine_takes_the_place_of_the_earlier() {
        let kernel = |release| read(&CONSOLE.replace("5.10.0-46-cloud-amd64", release), Layout::V2);
        let table = ["6.12.9-a", "6.1.0-b", "6.12.9-a"]
            .map(kernel)
            .iter()
            .fold(String::new(), |table, outcome| with_row(&table, outcome));
        let rows: Vec<_> = table.lines().skip(2).filter_map(|row| row.split(' ').nth(1)).collect();
        assert_eq!(rows, ["6.1.0-b", "6.12.9-a"]);
        assert!(table.starts_with(HEAD), "{table}");
    }

    #[test]
    fn tests_that_were_left_out_are_told() {
        let summary = "test result: ok. 1 passed; 0 failed; 0 ignored; 7 filtered out; finished";
        let console = format!("@kernel 6.1 v2\n@file a\ntest b ... ok\n{summary}\n@ended 0\n@done");
        let row = row(&read(&console, Layout::V2));
        assert!(row.ends_with("| a 1 of 8, the others not run |"), "{row}");
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
