//! A reading of Rust source that is just good enough for counting and for rules: comments and the
//! contents of literals are blanked out, test code is told from product code.

use std::ops::Range;
use std::path::Path;

/// The source with comments turned to spaces and literals to quotation marks. Lines keep their
/// numbers.
pub(crate) fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(token) = Token::first(rest) {
        let Some((text, left)) = rest.split_at_checked(token.length) else { break };
        match token.blank {
            Some(blank) => code.extend(text.chars().map(|c| if c == '\n' { c } else { blank })),
            None => code.push_str(text),
        }
        rest = left;
    }
    code
}

/// Whether a file holds nothing but tests, by its path.
pub(crate) fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs")
}

/// The lines (counted from 0) of what stands under `#[cfg(test)]` in code without comments.
pub(crate) fn test_lines(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut done = 0;
    for (start, _) in code.match_indices(MARK) {
        if start < done {
            continue;
        }
        done = start + code.get(start..).map_or(0, item_length);
        found.push(line_at(code, start)..line_at(code, done) + 1);
    }
    found
}

/// Up to the semicolon or the closing brace that ends the item.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    let end = code.find(|char| {
        match char {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(char, '}' | ';')
    });
    end.unwrap_or(code.len())
}

/// The line (counted from 0) in which that byte stands.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

struct Token {
    length: usize,
    /// What its characters are replaced with.
    blank: Option<char>,
}

impl Token {
    fn first(rest: &str) -> Option<Self> {
        let first = rest.chars().next()?;
        let blank = |length, char| Some(Self { length, blank: Some(char) });
        if rest.starts_with("//") {
            return blank(rest.find('\n').unwrap_or(rest.len()), ' ');
        }
        if rest.starts_with("/*") {
            return blank(block_comment(rest), ' ');
        }
        if let Some(length) = string(rest).or_else(|| character(rest)) {
            return blank(length, '"');
        }
        let word = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        Some(Self { length: word.max(first.len_utf8()), blank: None })
    }
}

/// Whether this character may stand in an identifier.
pub(crate) fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// They nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        let (step, now) = match here {
            _ if here.starts_with("/*") => (2, depth + 1),
            _ if here.starts_with("*/") => (2, depth - 1),
            _ => (here.chars().next().map_or(1, char::len_utf8), depth),
        };
        at += step;
        depth = now;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string literal that the text begins with.
fn string(rest: &str) -> Option<usize> {
    let prefixes = ["br", "cr", "r", "b", "c", ""];
    prefixes.into_iter().find_map(|prefix| {
        let after = rest.strip_prefix(prefix)?;
        let length = if prefix.ends_with('r') { raw(after)? } else { quoted(after, '"')? };
        Some(prefix.len() + length)
    })
}

fn raw(after: &str) -> Option<usize> {
    let hashes = after.find(|c| c != '#')?;
    let body = after.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&close).map_or(body.len(), |end| end + close.len());
    Some(hashes + 1 + length)
}

/// A character literal; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('b').filter(|after| after.starts_with('\'')).unwrap_or(rest);
    let mut inside = after.strip_prefix('\'')?.chars();
    let first = inside.next()?;
    if first != '\\' && inside.next() != Some('\'') {
        return None;
    }
    Some(rest.len() - after.len() + quoted(after, '\'')?)
}

/// Up to and with the closing mark; a backslash hides the character after it.
fn quoted(after: &str, mark: char) -> Option<usize> {
    let body = after.strip_prefix(mark)?;
    let mut hidden = false;
    let close = body.find(|char| {
        let closes = char == mark && !hidden;
        hidden = char == '\\' && !hidden;
        closes
    });
    Some(1 + close.map_or(body.len(), |close| close + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        assert_eq!(code_only(source), expected);
    }

    #[test]
    fn comments_become_spaces_and_lines_stay() {
        check("a // b\nc", "a     \nc");
        check("/// [`crate::x`]\nd", "                \nd");
        check("a /* b /* c */\n d */ e", "a             \n      e");
        check("a /* b", "a     ");
    }

    #[test]
    fn literals_become_quotation_marks() {
        check(r#"f("a // \" b") + 1"#, r#"f(""""""""""") + 1"#);
        check("r##\"a\"# b\"## c", "\"\"\"\"\"\"\"\"\"\"\"\" c");
        check("b\"x\" br\"y\\\" z", "\"\"\"\" \"\"\"\"\"\" z");
        check("'\"' + '\\'' + b'x'", "\"\"\" + \"\"\"\" + \"\"\"\"");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_no_literals() {
        check(
            "fn f<'a>(x: &'a str, r#use: &'static u8) {}",
            "fn f<'a>(x: &'a str, r#use: &'static u8) {}",
        );
        check("bar\"x\"", "bar\"\"\"");
    }

    #[test]
    fn the_lines_of_test_modules_are_found() {
        let code = "a\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nc\n#[cfg(test)]\nmod more;\nd\n";
        assert_eq!(test_lines(code), [1..5, 6..8]);
    }

    #[test]
    fn test_files_are_told_by_their_path() {
        assert!(is_test_file(Path::new("agent/src/roles/tests.rs")));
        assert!(is_test_file(Path::new("agent/src/roles/tests/names.rs")));
        assert!(!is_test_file(Path::new("agent/src/roles/decide.rs")));
    }
}
