//! The page of all commands and flags, for the documentation: made of what the command line takes.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::Arguments;

/// All commands and their flags in Markdown, from the second heading on.
#[must_use]
pub fn page() -> String {
    let commands = Arguments::command();
    let shown = commands.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(section).collect()
}

fn section(command: &Command) -> String {
    let name = command.get_name();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("\n## `podrole {name}`\n\n{about}.\n\n");
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let (named, placed): (Vec<_>, Vec<_>) =
        arguments.partition(|argument| argument.get_long().is_some());
    for argument in placed {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "`{}`: {}.\n", value(argument), help(argument));
    }
    text += "| flag | variable | default | meaning |\n|---|---|---|---|\n";
    for argument in named {
        let long = argument.get_long().unwrap_or_default();
        let is_optional = argument.get_num_args().is_some_and(|range| range.min_values() == 0);
        let value = if !argument.get_action().takes_values() {
            String::new()
        } else if is_optional {
            format!("[={}]", value(argument))
        } else {
            format!(" {}", value(argument))
        };
        let variable = argument.get_env().unwrap_or_default().display();
        let defaults =
            argument.get_default_values().iter().map(|value| value.display().to_string());
        let defaults: Vec<_> = defaults.map(|value| format!("`{value}`")).collect();
        let default = if defaults.is_empty() { "–".to_owned() } else { defaults.join(", ") };
        let _ =
            writeln!(text, "| `--{long}{value}` | `{variable}` | {default} | {} |", help(argument));
    }
    text
}

fn value(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// In one line of a table.
fn help(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let possible = argument.get_possible_values();
    let possible: Vec<_> = possible
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let possible =
        if possible.is_empty() { String::new() } else { format!(" ({})", possible.join(", ")) };
    format!("{help}{possible}").replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTATION: &str = include_str!("../../../docs/flags.md");

    #[test]
    fn the_documentation_has_every_command_and_flag() {
        assert!(DOCUMENTATION.ends_with(&page()), "run `cargo xtask docs`");
    }

    #[test]
    fn a_flag_has_its_variable_and_its_default() {
        let page = page();
        let row = "| `--state-dir DIRECTORY` | `PODROLE_STATE_DIR` | `/var/lib/podrole` | ";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("| `--watch[=SECONDS]` | `PODROLE_WATCH` | – | "), "{page}");
        assert!(page.contains("| `--wait` | `PODROLE_WAIT` | "), "{page}");
        assert!(page.contains("| `--output FORMAT` | `PODROLE_OUTPUT` | `text` | "), "{page}");
        assert!(!page.contains("self-test") && !page.contains("node-name-of-pod"), "{page}");
    }
}
