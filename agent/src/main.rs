//! The life of the process: settings, telemetry, build, run, drain, exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use podrole::app::{self, Edges};
use podrole::kernel::bpffs;
use podrole::operate::shutdown::Signals;
use podrole::operate::telemetry;
use podrole::report::Chain;
use podrole::settings::{AgentArguments, Arguments, Command, DetachArguments, Settings};
use tracing::info;

/// Wrong usage; anything else that fails is 1.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Agent(arguments) => agent(*arguments),
        Command::Detach(arguments) => detach(&arguments),
    }
}

fn agent(arguments: AgentArguments) -> ExitCode {
    let settings = match Settings::from_arguments(arguments) {
        Ok(settings) => settings,
        Err(mistakes) => return failed(USAGE, &mistakes),
    };
    finish(run(settings))
}

fn run(settings: Settings) -> anyhow::Result<()> {
    telemetry::start(settings.log_format, settings.log_filter()?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::catch()?;
        info!(version = env!("CARGO_PKG_VERSION"), ?settings, "starting");
        let edges = Edges::connect().await?;
        app::build(settings, edges).await?.run(signals).await?;
        Ok(())
    })
}

fn detach(arguments: &DetachArguments) -> ExitCode {
    finish(bpffs::remove_all_pins(&arguments.bpf_fs).map_err(Into::into))
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(1, &Chain(error.as_ref())),
    }
}

fn failed(code: u8, message: &dyn std::fmt::Display) -> ExitCode {
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "podrole: {message}");
    code.into()
}
