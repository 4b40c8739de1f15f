//! Rules on the text of files: module docs, length, trailing white space.

use super::{Finding, SourceFile};

/// From here on a file is named.
const LONG: usize = 400;

/// A longer one is refused.
const TOO_LONG: usize = 500;

/// Every Rust file says first what it is for.
pub(super) fn module_docs(file: &SourceFile) -> Vec<Finding> {
    let said = !file.is_rust() || file.text.starts_with("//! ");
    if said {
        Vec::new()
    } else {
        vec![file.in_line(0, "start with `//!`: what is this file for?")]
    }
}

/// No Rust file is too long to be read.
pub(super) fn length(file: &SourceFile) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if !file.is_rust() || lines <= TOO_LONG {
        return Vec::new();
    }
    vec![file.whole(format!("{lines} lines, more than {TOO_LONG}: split it"))]
}

/// Whether a file should be split soon.
pub(super) fn is_long(file: &SourceFile) -> bool {
    file.is_rust() && file.text.lines().count() > LONG
}

pub(super) fn trailing_whitespace(file: &SourceFile) -> Vec<Finding> {
    let lines = file.text.split('\n').enumerate();
    let bad = lines.filter(|(_, line)| line.ends_with(char::is_whitespace));
    bad.map(|(number, _)| file.in_line(number, "trailing white space")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_file_without_module_docs_is_found() {
        assert_eq!(module_docs(&SourceFile::new("a.rs", "//! What it is for.\n")), []);
        assert_eq!(module_docs(&SourceFile::new("a.sh", "true\n")), []);
        let findings = module_docs(&SourceFile::new("a.rs", "// What it is for.\n"));
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn long_files_are_named_and_longer_ones_found() {
        let file = |lines| SourceFile::new("a.rs", "//! x\n".repeat(lines));
        assert!(!is_long(&file(400)));
        assert!(is_long(&file(401)));
        assert_eq!(length(&file(500)), []);
        let finding = length(&file(501)).remove(0).to_string();
        assert_eq!(finding, "a.rs: 501 lines, more than 500: split it");
    }

    #[test]
    fn trailing_white_space_is_found_in_any_text_carriage_returns_too() {
        let findings = trailing_whitespace(&SourceFile::new("a.md", "a\nb \nc\t\nd\r\ne"));
        let lines: Vec<_> = findings.iter().filter_map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }
}
