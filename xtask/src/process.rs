//! Running other programs; who fails is shown with the whole command line.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// How much of a silent program's output is shown when it fails, in lines.
const LAST_LINES: usize = 30;

/// Runs a program that talks to the terminal itself.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("{status}: {}", shown(command));
    }
    Ok(())
}

/// Runs a program silently and hands over what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| not_started(command))?;
    if !output.status.success() {
        bail!("{}: {}\n{}", output.status, shown(command), last_lines(&output));
    }
    String::from_utf8(output.stdout).with_context(|| format!("not UTF-8: {}", shown(command)))
}

/// Whether a program starts and ends well; silent.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    output(command).is_ok()
}

/// The program of that name on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let variables = set.map(|(name, value)| format!("{}={}", name.display(), quoted(value)));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn not_started(command: &Command) -> String {
    format!("cannot start: {}", shown(command))
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy().replace('\u{1f}', "\\x1f");
    let plain = |c: char| c.is_ascii_alphanumeric() || "+,-./:=@_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    let dollar = if word.contains('\\') { "$" } else { "" };
    format!("{dollar}'{}'", word.replace('\'', "'\\''"))
}

fn last_lines(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines.into_iter().skip(first).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.env("FLAGS", "--cfg=a=\"b\"\u{1f}-Cx").args(["build", "it's", ""]);
        let expected = r#"FLAGS=$'--cfg=a="b"\x1f-Cx' /usr/bin/cargo build 'it'\''s' ''"#;
        assert_eq!(shown(&command), expected);
    }

    #[test]
    fn a_failure_shows_status_command_and_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo why >&2; exit 3"]);
        let error = output(&mut command).unwrap_err().to_string();
        assert!(error.starts_with("exit status: 3: sh -c "), "{error}");
        assert!(error.ends_with("\nwhy"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("/no/such/program")).unwrap_err().to_string();
        assert_eq!(error, "cannot start: /no/such/program");
    }
}
