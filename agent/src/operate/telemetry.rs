//! Log lines on standard error, as text for people or as JSON for machines.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Text on a terminal, else JSON.
    #[must_use]
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Sends the log lines of this process, those of the libraries and of the eBPF programs among them,
/// to standard error.
///
/// # Errors
/// Where something else has taken them already.
pub fn start(format: Format, filter: EnvFilter) -> Result<(), TryInitError> {
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter);
    match format {
        Format::Text => subscriber.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        Format::Json => subscriber.json().flatten_event(true).finish().try_init(),
    }
}
