//! The life of the process: settings, telemetry, build, run, drain, exit code.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use podrole::app::{self, Edges, inspect};
use podrole::kernel::self_test::{NO_NETWORK, as_pod, in_node, probe, way};
use podrole::kernel::{bpffs, clsact, needs_perfmon};
use podrole::operate::shutdown::Signals;
use podrole::operate::telemetry;
use podrole::operate::{core_dumps, privileges};
use podrole::report::Chain;
use podrole::settings::{
    AgentArguments, Arguments, AttachArguments, AttachSettings, CheckArguments, Command,
    DetachArguments, KernelSettings, SelfTestArguments, Settings,
};
use tracing::{debug, info};

/// Wrong usage; anything else that fails is 1.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Agent(arguments) => agent(*arguments),
        Command::Attach(arguments) => attach(*arguments),
        Command::Detach(arguments) => detach(&arguments),
        Command::Ready(arguments) => ask_agent(inspect::ready(&arguments)),
        Command::Check(arguments) => check(*arguments),
        Command::Explain(arguments) => ask_agent(inspect::explain(&arguments)),
        Command::Report(arguments) => ask_agent(inspect::report(&arguments)),
        Command::Status(arguments) => ask_agent(inspect::status(&arguments)),
        Command::SelfTest(arguments) => self_test(&arguments),
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
    telemetry::start(settings.log.format, settings.log.filter()?)?;
    // The last thing that takes more rights than are kept.
    bpffs::ensure_mounted(&settings.kernel.bpf_fs)?;
    privileges::give_up(needs_perfmon().then_some(privileges::PERFMON))
        .context("cannot give up the rights that are not needed (capset)")?;
    core_dumps::forbid().context("cannot forbid core dumps (PR_SET_DUMPABLE)")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        info!(version = env!("CARGO_PKG_VERSION"), node = settings.node_name, "starting");
        debug!(?settings, "settings");
        let built = async {
            let edges = Edges::connect(&settings).await?;
            app::build(settings, edges).await
        };
        tokio::select! {
            bound = built => bound?.run(signals).await?,
            signal = signals.wait() => info!(signal, "stopping before all was there"),
        }
        Ok(())
    })
}

fn attach(arguments: AttachArguments) -> ExitCode {
    match AttachSettings::from_arguments(arguments) {
        Ok(settings) => finish(run_attach(&settings)),
        Err(mistakes) => failed(USAGE, &mistakes),
    }
}

fn run_attach(settings: &AttachSettings) -> anyhow::Result<()> {
    telemetry::start(settings.log.format, settings.log.filter()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        app::attach(settings, Signals::catch()?).await?;
        Ok(())
    })
}

fn detach(arguments: &DetachArguments) -> ExitCode {
    finish(run_detach(&arguments.bpf_fs))
}

fn run_detach(bpf_fs: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Each is tried, whatever becomes of the other.
    let filters = runtime.block_on(clsact::remove_all());
    bpffs::remove_all_pins(bpf_fs)?;
    Ok(filters?)
}

/// Runs a command that asks the agent; what it found becomes the exit code.
fn ask_agent<E: std::error::Error + Send + Sync + 'static>(
    command: impl Future<Output = Result<ExitCode, E>>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map(|runtime| runtime.block_on(command)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => failed(1, &Chain(&error)),
        Err(error) => failed(1, &error),
    }
}

fn check(arguments: CheckArguments) -> ExitCode {
    match KernelSettings::from_arguments(arguments.kernel.clone()) {
        Ok(kernel) => ask_agent(async move {
            Ok::<_, Infallible>(Box::pin(app::check(&arguments, &kernel)).await)
        }),
        Err(mistakes) => failed(USAGE, &mistakes),
    }
}

fn self_test(arguments: &SelfTestArguments) -> ExitCode {
    let SelfTestArguments { cgroup, metadata, proxy, way, in_node, network } = arguments;
    if *in_node {
        return say(in_node::process(cgroup, metadata));
    }
    if let (Some(network), [metadata]) = (network, proxy.as_slice()) {
        let gone = as_pod::run(cgroup, network, *metadata);
        return gone.map_or_else(|error| failed(1, &error), |()| ExitCode::SUCCESS);
    }
    if let (true, [SocketAddr::V4(proxy)]) = (way, proxy.as_slice()) {
        return say(way::run(cgroup, *proxy));
    }
    match probe::run(cgroup, metadata, proxy) {
        Ok(failed_checks) if failed_checks.is_empty() => ExitCode::SUCCESS,
        Ok(failed_checks) => failed(1, &failed_checks.join("\n")),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => NO_NETWORK.into(),
        Err(error) => failed(1, &error),
    }
}

/// What comes back goes to the agent, and so to standard output.
fn say(found: io::Result<String>) -> ExitCode {
    let (code, said) = match found {
        Ok(found) => (ExitCode::SUCCESS, found),
        Err(error) => (ExitCode::FAILURE, error.to_string()),
    };
    // With the agent gone there is nobody left to tell.
    let _ = writeln!(io::stdout(), "{said}");
    code
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
