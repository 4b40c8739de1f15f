//! The pages of `docs/` as tests take them: fenced blocks whose info string says what is to be done with
//! them. Every block of a shell has one:
//!
//! | info string | |
//! |---|---|
//! | `sh agent` | starts an agent on a pretend node |
//! | `sh run` | is run beside it |
//! | `sh walk` | is a step of a migration, taken in order |
//! | `sh helm` | is rendered by helm, without a cluster |
//! | `sh xtask` | tasks of this repository |
//! | `sh cluster` | needs a cluster, or AWS: run by nobody here |
//! | `console NAME` | is run, and prints what is below it |

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// A block of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// `yaml apply`, `sh agent`, `sh run`.
    pub info: String,
    /// Its lines, without what indents the whole block.
    pub text: String,
}

/// The blocks of a page that have more than a language.
///
/// # Errors
/// Where the page is not there, or a block does not end.
pub fn blocks(page: &str) -> Result<Vec<Block>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    marked(&text)
}

/// All blocks of a text, with a language alone, too.
///
/// # Errors
/// Where a block does not end.
pub fn all(text: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => {
                let indent = line.len() - line.trim_start().len();
                let info = info.trim().to_owned();
                open = Some((indent, Block { info, text: String::new() }));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "a block does not end");
    Ok(blocks)
}

fn marked(text: &str) -> Result<Vec<Block>> {
    let mut blocks = all(text)?;
    blocks.retain(|block| block.info.contains(' '));
    Ok(blocks)
}

/// The flags and values of a command that is written over lines.
///
/// # Errors
/// Where a flag has no value.
pub fn flags(command: &str) -> Result<Vec<(String, String)>> {
    let joined = command.replace("\\\n", " ");
    let mut words = joined.split_whitespace().skip_while(|word| !word.starts_with("--"));
    let mut flags = Vec::new();
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} has no value"))?;
        flags.push((flag.to_owned(), value.trim_matches('\'').to_owned()));
    }
    Ok(flags)
}

/// What stands for what a page leaves out.
const LEFT_OUT: &str = "…";

/// Whether an output is as a page shows it: `…` stands for any text within a line, and alone on its line for
/// any lines.
#[must_use]
pub fn is_as_shown(shown: &str, output: &str) -> bool {
    let shown: Vec<_> = shown.lines().collect();
    let output: Vec<_> = output.lines().map(str::trim_end).collect();
    are_lines(&shown, &output)
}

fn are_lines(shown: &[&str], output: &[&str]) -> bool {
    match shown.split_first() {
        None => output.is_empty(),
        Some((&LEFT_OUT, rest)) => {
            (0..=output.len()).any(|skip| are_lines(rest, output.get(skip..).unwrap_or_default()))
        }
        Some((line, rest)) => output
            .split_first()
            .is_some_and(|(first, others)| is_line(line, first) && are_lines(rest, others)),
    }
}

fn is_line(shown: &str, line: &str) -> bool {
    let Some((start, rest)) = shown.split_once(LEFT_OUT) else { return shown == line };
    let Some(mut line) = line.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once(LEFT_OUT).unwrap_or(("", rest));
    for part in middle.split(LEFT_OUT).filter(|part| !part.is_empty()) {
        let Some((_, after)) = line.split_once(part) else { return false };
        line = after;
    }
    line.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_are_taken_as_they_stand() {
        let text = "a\n```sh\nno\n```\n1. b\n\n   ```sh run\n   one\n     two\n   ```\n";
        let block = Block { info: "sh run".to_owned(), text: "one\n  two\n".to_owned() };
        assert_eq!(marked(text).unwrap(), [block]);
        assert!(marked("```sh run\n").is_err());
    }

    #[test]
    fn flags_are_taken_from_a_command_over_lines() {
        let command = "podrole agent \\\n  --a b \\\n  --c '.*'\n";
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(flags(command).unwrap(), [pair("--a", "b"), pair("--c", ".*")]);
    }

    #[test]
    fn what_a_page_leaves_out_may_be_anything() {
        let output = "a 1 b\nc\nd\ne\n";
        for shown in ["a 1 b\nc\nd\ne", "a … b\n…\ne", "…", "…\na … b\nc\n…", "a…\n…d\n…"]
        {
            assert_eq!(is_as_shown(shown, output), shown != "a…\n…d\n…", "{shown:?}");
        }
        for shown in ["", "a 1 b", "a … c\n…", "…\nc\ne", "… 2 …\n…"] {
            assert!(!is_as_shown(shown, output), "{shown:?}");
        }
    }
}
