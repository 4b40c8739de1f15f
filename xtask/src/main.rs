//! `cargo xtask`: builds, tests and shows podrole. Flags only; each task is a module.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "talks to a terminal")]

mod arm64;
mod bench;
mod bpf_toolchain;
mod build;
mod cargo_tool;
mod clients;
mod debian;
mod demo;
mod docs;
mod fuzz;
mod image;
mod lines;
mod linker;
mod manifests;
mod process;
mod programs;
mod release;
mod reproducible;
mod rust_source;
mod steps;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Builds, tests and shows podrole. Installs what it needs, a line for each thing.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the eBPF programs and the agent that carries them
    Build(build::Arguments),
    /// Check and test everything, in order of cost
    Test(test::Arguments),
    /// Try inputs on the parsers, guided by coverage
    Fuzz(fuzz::Arguments),
    /// Measure what podrole costs, beside what it is compared with
    Bench(bench::Arguments),
    /// Show podrole on a pretend node: three pods, real AWS clients
    Demo(demo::Arguments),
    /// Make an OCI image of the agent, without a daemon or a registry
    Image(image::Arguments),
    /// Build for arm64 on another machine, and run the unit tests emulated
    Arm64(arm64::Arguments),
    /// Put everything that is published into dist, with checksums
    Release(release::Arguments),
    /// Run kernel tests on Debian's kernels, in virtual machines
    Vm(vm::Arguments),
    /// Write the manifests that are generated from the agent's types
    Manifests,
    /// Write the pages and tables that are generated from the agent's types
    Docs,
    /// Check the repository's own rules
    Tidy,
    /// Count lines of code, room by room
    Lines,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { task }: Arguments) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match task {
        Task::Build(arguments) => build::run(&workspace, &arguments),
        Task::Test(arguments) => test::run(&workspace, &arguments),
        Task::Fuzz(arguments) => fuzz::run(&workspace, &arguments),
        Task::Bench(arguments) => bench::run(&workspace, &arguments),
        Task::Demo(arguments) => demo::run(&workspace, &arguments),
        Task::Image(arguments) => image::run(&workspace, &arguments),
        Task::Arm64(arguments) => arm64::run(&workspace, &arguments),
        Task::Release(arguments) => release::run(&workspace, &arguments),
        Task::Vm(arguments) => vm::run(&workspace, &arguments),
        Task::Manifests => manifests::run(&workspace),
        Task::Docs => docs::run(&workspace),
        Task::Tidy => tidy::run(&workspace),
        Task::Lines => lines::run(&workspace),
    }
}
