//! No command line breaks the reading of flags: each becomes settings or mistakes.

use clap::Parser as _;

use super::Settings;
use super::arguments::{Arguments, Command};

/// The flags of the agent, a line for each.
pub(crate) fn flags(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let line = ["podrole", "agent"].into_iter().chain(text.lines());
    let Ok(Arguments { command: Command::Agent(arguments) }) = Arguments::try_parse_from(line)
    else {
        return;
    };
    if let Err(mistakes) = Settings::from_arguments(*arguments) {
        assert!(!mistakes.to_string().is_empty());
    }
}
