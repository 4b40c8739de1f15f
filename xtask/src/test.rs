//! `test`: checks and tests everything, in order of cost, up to the first step that fails.

mod checks;
mod suites;

use std::panic::resume_unwind;
use std::thread;

use anyhow::{Result, bail};

use crate::build::Beside;
use crate::clients::Which;
use crate::debian::Needed;
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{build, clients, debian, fuzz, programs, tidy};

/// For each fuzz target: enough to meet what is new; `fuzz --seconds` takes its time.
const FUZZ_SECONDS: u32 = 10;

/// For the tests of the dashboard's and the alerts' queries.
const PROMETHEUS: [Needed; 1] = [Needed { command: "promtool", package: "prometheus" }];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave out the tests that need root
    #[arg(long)]
    skip_kernel: bool,
    /// Also ask the advisory database about our dependencies
    #[arg(long)]
    advisories: bool,
    /// Leave out the clients in C++, Go and Java, for which 500 MB are downloaded
    #[arg(long)]
    light_clients: bool,
    /// Run only tests whose names hold one of these words, and no checks
    filter: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let Arguments { skip_kernel, advisories, light_clients, filter } = arguments;
    if !skip_kernel && !debian::is_root() {
        bail!("the kernel tests need root: run this as root, or with --skip-kernel");
    }
    let mut steps = Steps::begin();
    if filter.is_empty() {
        steps.step("format", || checks::format(workspace))?;
        steps.step("tidy", || tidy::run(workspace))?;
    }
    let programs = steps.step("eBPF programs", || programs::build(workspace))?;
    thread::scope(|scope| {
        // Mostly a download: it goes on while the processors compile.
        let which = if *light_clients { Which::Light } else { Which::All };
        let clients =
            (!skip_kernel).then(|| scope.spawn(move || clients::install(workspace, which)));
        if filter.is_empty() {
            steps.step("clippy", || checks::clippy(workspace, &programs))?;
            steps.step("clippy of the eBPF programs", || checks::clippy_of_programs(workspace))?;
            steps.step("dependencies", || checks::dependencies(workspace, *advisories))?;
            steps.step("documentation", || checks::documentation(workspace, &programs))?;
        }
        let agent =
            steps.step("agent", || build::debug_agent(workspace, &programs, Beside::All))?;
        steps.step("unit tests", || suites::unit(workspace, &programs, filter))?;
        if filter.is_empty() {
            steps.step("fuzzing", || fuzz::all(workspace, &programs, FUZZ_SECONDS))?;
        }
        if let Some(clients) = clients {
            let installed = || clients.join().unwrap_or_else(|panic| resume_unwind(panic));
            let clients = steps.step("AWS clients", installed)?;
            steps.step("Prometheus", || debian::install_for(&PROMETHEUS))?;
            let run = || suites::kernel(workspace, &programs, &agent, &clients, filter);
            steps.step("kernel tests", run)?;
        }
        println!("test: {}{}", steps.summary(), left_out(arguments));
        Ok(())
    })
}

fn left_out(arguments: &Arguments) -> String {
    let mut left = Vec::new();
    if arguments.skip_kernel {
        left.push("THE KERNEL TESTS (--skip-kernel)");
    } else if arguments.light_clients {
        left.push("CLIENTS IN C++, GO AND JAVA (--light-clients)");
    }
    if !arguments.filter.is_empty() {
        left.push("CHECKS, TESTS OF OTHER NAMES");
    }
    if left.is_empty() {
        return ", all passed".to_owned();
    }
    format!("; NOT RUN: {}", left.join(", "))
}
