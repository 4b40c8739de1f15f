//! `vm`: the kernel tests on other kernels than the running one, in virtual machines.
//!
//! Slow where the processor does not virtualise, so not a part of `test`. The page has a row for each machine,
//! of its last run.

mod initramfs;
mod kernels;
mod machine;
mod outcome;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use self::kernels::{Kernel, Which};
use self::machine::Layout;
use self::outcome::Outcome;
use crate::build::{self, Beside, USERSPACE};
use crate::image::Platform;
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{image, process, programs};

/// What shows that the programs load, attach, redirect, guard, attest and detach. Tests of the rest need
/// no other kernel, or AWS clients that do not fit into a small machine.
const TESTS: [&str; 14] = [
    "attach",
    "bypass",
    "clsact",
    "host_network",
    "identity",
    "nested",
    "pins",
    "ports",
    "redirect",
    "stop",
    "sysctls",
    "taken",
    "unreachable",
    "untouched",
];
/// What tests start, beside the agent.
const HELPERS: [&str; 3] = ["podrole-pretend", "podrole-probe", "podrole-vectors"];
/// Between these lines the page is this command's.
const PAGE: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- begin: written by cargo xtask vm -->\n";
const END: &str = "<!-- end -->\n";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this kernel: a series as 6.1, or newest (may be repeated)
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,
    /// Only this layout of cgroups (may be repeated)
    #[arg(long, value_enum)]
    layout: Vec<Layout>,
    /// How long one machine may take
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    seconds: u32,
    /// Only tests whose names hold this word (may be repeated)
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Only these test files
    tests: Vec<String>,
}

impl Arguments {
    fn kernels(&self) -> Vec<Which> {
        if self.kernel.is_empty() {
            return Which::all();
        }
        self.kernel.iter().map(|name| Which::parse(name)).collect()
    }

    fn layouts(&self) -> &[Layout] {
        if self.layout.is_empty() { &Layout::ALL } else { &self.layout }
    }

    fn tests(&self) -> Vec<&str> {
        if self.tests.is_empty() {
            return TESTS.to_vec();
        }
        self.tests.iter().map(String::as_str).collect()
    }
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut steps = Steps::begin();
    steps.step("QEMU and tools", || machine::prepare().and_then(|()| initramfs::prepare()))?;
    let kernels = steps.step("kernels", || kernels::get(workspace, &arguments.kernels()))?;
    let programs = steps.step("programs and tests", || built(workspace, &arguments.tests()))?;
    let place = workspace.target().join("vm");
    fs::create_dir_all(&place).context("cannot make a directory for the machines")?;
    let mut faults = Vec::new();
    for kernel in &kernels {
        let name = format!("initramfs for {}", kernel.release);
        let image = steps.step(&name, || initramfs::write(&place, kernel, &programs))?;
        for layout in arguments.layouts() {
            let name = format!("{}, cgroups {}", kernel.release, layout.name());
            let outcome = steps.step(&name, || {
                let outcome = boot(kernel, &image, *layout, &place, arguments)?;
                println!("    {}", outcome::row(&outcome));
                write_page(&workspace.root().join(PAGE), &outcome)?;
                Ok(outcome)
            })?;
            faults.extend(outcome.faults());
        }
    }
    if !faults.is_empty() {
        bail!("not all is well; the consoles are in {}:\n{}", place.display(), faults.join("\n"));
    }
    println!("vm: {}, all passed", steps.summary());
    Ok(())
}

fn boot(
    kernel: &Kernel,
    image: &Path,
    layout: Layout,
    place: &Path,
    arguments: &Arguments,
) -> Result<Outcome> {
    let log = place.join(format!("{}-{}.log", kernel.release, layout.name()));
    let console = machine::run(kernel, image, (layout, &arguments.only), &log, arguments.seconds)?;
    Outcome::read(&console, &kernel.package, layout)
        .with_context(|| format!("its console: {}", log.display()))
}

fn built(workspace: &Workspace, tests: &[&str]) -> Result<initramfs::Programs> {
    let programs = programs::build(workspace)?;
    let debug = build::debug_agent(workspace, &programs, Beside::All)?;
    let beside = debug.parent().context("the agent lies in a directory")?.to_owned();
    // The one of the image: what is shipped, and an emulator is slow enough.
    let agent = image::static_binary(workspace, Platform::Amd64, &programs)?;
    let mut cargo = build::cargo(workspace, &programs);
    cargo.arg("test").args(USERSPACE).args(["--no-run", "--message-format=json"]);
    for test in tests {
        cargo.args(["--test", test]);
    }
    let messages = process::output(&mut cargo).context("cannot build the tests")?;
    let tests = messages.lines().filter_map(executable).collect();
    Ok(initramfs::Programs { agent, helpers: HELPERS.map(|name| beside.join(name)).into(), tests })
}

/// Of a test's artifact: its name and where its program is (cargo's external tools, "JSON messages").
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = message.get("target")?;
    let is_test = target.get("kind")?.as_array()?.iter().any(|kind| kind == "test");
    let name = target.get("name")?.as_str()?.to_owned();
    let program = PathBuf::from(message.get("executable")?.as_str()?);
    is_test.then_some((name, program))
}

fn write_page(page: &Path, outcome: &Outcome) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let text = with_row(&text, outcome).with_context(|| format!("{PAGE} has no place for it"))?;
    fs::write(page, text).with_context(|| page.display().to_string())
}

fn with_row(page: &str, outcome: &Outcome) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (table, after) = rest.split_once(END)?;
    let table = outcome::with_row(table, outcome);
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_of_tests_are_taken() {
        let message = |kind: &str| {
            format!(r#"{{"target":{{"kind":["{kind}"],"name":"pins"}},"executable":"/t/pins-1"}}"#)
        };
        assert_eq!(executable(&message("test")), Some(("pins".into(), "/t/pins-1".into())));
        assert_eq!(executable(&message("bin")), None);
        assert_eq!(executable("warning: not JSON"), None);
    }

    #[test]
    fn only_the_commands_own_part_of_the_page_is_written() {
        let outcome = Outcome::read("@kernel 6.1 v2\n@done\n", "6.1.1", Layout::V2).unwrap();
        let written = with_row(&format!("a\n{BEGIN}\n{END}b\n"), &outcome).unwrap();
        assert!(written.starts_with("a\n") && written.ends_with("b\n"), "{written}");
        assert!(written.contains("| 6.1 | v2 | 6.1.1 |"), "{written}");
        assert_eq!(with_row("a page of others", &outcome), None);
    }
}
