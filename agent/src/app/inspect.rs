//! The commands that ask the agent of this node, and how their answers look.

mod by_settings;
pub mod explain;
mod remote;
pub mod report;
pub mod status;
mod text;
mod watch;

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::explain::Explanation;
pub use self::remote::RemoteError;
use self::report::{NodeReport, Report};
use self::status::Status;
pub(super) use self::text::{Paint, table};
use crate::operate::control::Question;
use crate::operate::control::client::{AskError, ask};
use crate::operate::control::own;
use crate::settings::{
    ExplainArguments, InspectArguments, Output, PodName, ReportArguments, StatusArguments,
};

/// The answer to [`Question::Ready`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether the agent serves.
    pub ready: bool,
    /// What it waits for, if it does not.
    pub missing: Vec<String>,
}

/// What a command found, for people.
pub(super) trait Show: Serialize {
    /// As lines of at most 100 columns.
    fn show(&self, paint: Paint) -> String;
}

/// `podrole ready`: good if the agent serves.
///
/// # Errors
/// Where no agent answers.
pub async fn ready(arguments: &InspectArguments) -> Result<ExitCode, AskError> {
    let socket = &arguments.socket.socket;
    // During an upgrade there are two agents; a probe asks the one that is in its container.
    let asked = match own::path(socket) {
        Some(own) => ask(&own, &Question::Ready).await,
        None => ask(socket, &Question::Ready).await,
    };
    let answer: Ready = match asked {
        Err(AskError::NoAgent { .. }) => ask(socket, &Question::Ready).await?,
        asked => asked?,
    };
    print(arguments.output.output, &answer);
    Ok(if answer.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `podrole status`
///
/// # Errors
/// Where no agent answers.
pub async fn status(arguments: &StatusArguments) -> Result<ExitCode, AskError> {
    let StatusArguments { watch, inspect: InspectArguments { socket, output } } = arguments;
    if let Some(seconds) = watch {
        let every = Duration::from_secs(*seconds);
        watch::show(every, output.output, || ask::<Status>(&socket.socket, &Question::Status))
            .await;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Status = ask(&socket.socket, &Question::Status).await?;
    print(output.output, &answer);
    Ok(ExitCode::SUCCESS)
}

/// Why a pod cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The agent of this node does not answer.
    #[error(transparent)]
    Here(#[from] AskError),
    /// The agent of the pod's node does not answer.
    #[error(transparent)]
    There(#[from] RemoteError),
    /// The agent of this node does not know it.
    #[error("the agent of this node knows no running pod of this name")]
    NotHere,
}

/// `podrole explain`: good unless the pod is refused what was asked for. Whoever is on the pod's node asks
/// the agent there; from elsewhere it is found by the API server.
///
/// # Errors
/// Where nobody can explain the pod.
pub async fn explain(arguments: &ExplainArguments) -> Result<ExitCode, ExplainError> {
    let ExplainArguments { pod, agents, on_node, inspect } = arguments;
    let InspectArguments { socket, output } = inspect;
    let PodName { namespace, name } = pod.clone();
    let question = Question::Explain { namespace, name };
    let answer = match ask::<Option<Explanation>>(&socket.socket, &question).await {
        Ok(Some(answer)) => answer,
        Ok(None) if *on_node => return Err(ExplainError::NotHere),
        Err(error) if *on_node => return Err(error.into()),
        Ok(None) | Err(AskError::NoAgent { .. }) => {
            Box::pin(remote::explain(pod, &agents.agent_namespace)).await?
        }
        Err(error) => return Err(error.into()),
    };
    print(output.output, &answer);
    Ok(if answer.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `podrole report`: good unless a workload would lose access.
///
/// # Errors
/// Where the agents cannot be asked.
pub async fn report(arguments: &ReportArguments) -> Result<ExitCode, ExplainError> {
    let ReportArguments { agents, again, on_node, inspect } = arguments;
    let InspectArguments { socket, output } = inspect;
    let report = if *on_node {
        let question = Question::Report { again: *again };
        let answer: NodeReport = ask(&socket.socket, &question).await?;
        // Whoever asks from elsewhere puts the nodes together.
        if output.output == Output::Json {
            return Ok(print_raw(&answer));
        }
        Report::of(vec![answer], Vec::new())
    } else {
        Box::pin(report::gather(&agents.agent_namespace, *again)).await?
    };
    print(output.output, &report);
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_raw(answer: &NodeReport) -> ExitCode {
    // Nothing here has a key that is no text; with standard output gone there is nobody left to tell.
    let said = serde_json::to_string(answer).unwrap_or_default() + "\n";
    let _ = io::stdout().write_all(said.as_bytes());
    ExitCode::SUCCESS
}

impl Show for Ready {
    fn show(&self, paint: Paint) -> String {
        format!("{}\n", paint.verdict(self))
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ready {
            f.write_str("ready")
        } else {
            write!(f, "not ready: {}", self.missing.join(", "))
        }
    }
}

pub(super) fn print(output: Output, answer: &impl Show) {
    let said = match output {
        Output::Text => answer.show(Paint::for_stdout()),
        // Nothing here has a key that is no text.
        Output::Json => serde_json::to_string_pretty(answer).unwrap_or_default() + "\n",
    };
    // With standard output gone there is nobody left to tell.
    let _ = io::stdout().write_all(said.as_bytes());
}
