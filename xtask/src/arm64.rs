//! `arm64`: builds the agent for arm64 on a machine of another kind, and runs what can run without its
//! kernel: the unit tests, in an emulator of the processor.

mod toolchain;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

pub(crate) use self::toolchain::{Arm64, TRIPLE};
use crate::debian::{self, Needed};
use crate::steps::Steps;
use crate::workspace::Workspace;
use crate::{process, programs, reproducible};

/// Runs programs of that processor on this one's kernel.
const EMULATOR: Needed = Needed { command: "qemu-aarch64", package: "qemu-user" };
/// Where Debian's cross compiler has the libraries that programs for arm64 are linked with.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Unit tests that read files by openat2(2), which Debian's emulator (QEMU 7.2) does not have.
const WITHOUT_OPENAT2: [&str; 4] = [
    "a_token_is_read_through_kubelets_links",
    "what_is_no_token_is_named",
    "the_role_is_the_one_that_eks_names",
    "the_pods_own_token_is_sent_unsigned",
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only unit tests whose names hold one of these words
    filter: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, Arguments { filter }: &Arguments) -> Result<()> {
    let mut steps = Steps::begin();
    let toolchain = steps.step("a compiler and an emulator", || {
        debian::install_for(&[EMULATOR])?;
        Arm64::find_or_install(workspace)
    })?;
    let programs = steps.step("eBPF programs", || programs::build(workspace))?;
    let mut cargo = toolchain.cargo(workspace);
    let runner = format!("{} -L {LIBRARIES}", EMULATOR.command);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    cargo.env(programs::OBJECT_VARIABLE, &programs.object);
    let flags: Vec<_> =
        reproducible::rust_flags(workspace)?.into_iter().chain(toolchain.flags()).collect();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    cargo.args(["test", "--locked", "--target", TRIPLE, "--package", "podrole", "--lib", "--bins"]);
    steps.step("agent and unit tests, emulated", || {
        let skipped = WITHOUT_OPENAT2.iter().flat_map(|test| ["--skip", test]);
        process::run(cargo.arg("--").args(filter).args(skipped))
            .context("the unit tests fail on arm64")
    })?;
    println!("arm64: {}", steps.summary());
    let left_out = WITHOUT_OPENAT2.len();
    println!(
        "ran, emulated: the unit tests but for {left_out} that read files by openat2(2), which the emulator lacks. Only built: what loads the eBPF programs. Not built: the kernel tests."
    );
    Ok(())
}

/// Runs a static program of arm64; what it says.
pub(crate) fn run_static(program: &Path, arguments: &[&str]) -> Result<String> {
    debian::install_for(&[EMULATOR])?;
    process::output(Command::new(EMULATOR.command).arg(program).args(arguments))
}
