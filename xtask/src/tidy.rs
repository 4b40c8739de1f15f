//! `tidy`: the repository's own rules.

mod fences;
mod layers;
mod links;
mod paths;
mod text;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::rust_source;
use crate::workspace::Workspace;

/// One file, as the rules see it.
pub(crate) struct SourceFile {
    /// Relative to the root of the checkout.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// For Rust: the text without comments and literals.
    pub(crate) code: String,
}

/// One place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: PathBuf,
    /// Counted from 1; none where the whole file is meant.
    line: Option<usize>,
    message: String,
}

const RULES: [fn(&SourceFile) -> Vec<Finding>; 6] = [
    text::module_docs,
    text::length,
    text::trailing_whitespace,
    paths::machine_paths_and_hosts,
    layers::layers,
    fences::fences,
];

/// Inputs of fuzzers: data of any kind.
const CORPUS: &str = "tests/fuzz/corpus";

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let files = read(workspace)?;
    for file in files.iter().filter(|file| text::is_long(file)) {
        println!("long, to be split soon: {}", file.path.display());
    }
    let mut findings: Vec<_> =
        files.iter().flat_map(|file| RULES.iter().flat_map(move |rule| rule(file))).collect();
    findings.extend(missing_changelog(&files));
    findings.extend(links::dead_links(&files));
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings in {} files", findings.len(), files.len());
    }
    println!("tidy: {} files", files.len());
    Ok(())
}

impl SourceFile {
    pub(crate) fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let rust = path.extension().is_some_and(|extension| extension == "rs");
        let code = if rust { rust_source::code_only(&text) } else { String::new() };
        Self { path, text, code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// A finding at that byte of the text.
    fn at(&self, offset: usize, message: impl Into<String>) -> Finding {
        let line = rust_source::line_at(&self.code, offset) + 1;
        Finding { path: self.path.clone(), line: Some(line), message: message.into() }
    }

    /// A finding in that line, counted from 0.
    fn in_line(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: Some(line + 1), message: message.into() }
    }

    fn whole(&self, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: None, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        match line {
            Some(line) => write!(f, "{}:{line}: {message}", path.display()),
            None => write!(f, "{}: {message}", path.display()),
        }
    }
}

/// All files that are text.
fn read(workspace: &Workspace) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for path in workspace.files()?.into_iter().filter(|path| !path.starts_with(CORPUS)) {
        let bytes = fs::read(workspace.root().join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile::new(path, text));
        }
    }
    Ok(files)
}

fn missing_changelog(files: &[SourceFile]) -> Option<Finding> {
    let path = Path::new("CHANGELOG.md");
    let there = files.iter().any(|file| file.path == path);
    let message = "there is none: say what changed for users".to_owned();
    (!there).then(|| Finding { path: path.to_owned(), line: None, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_changelog_is_found() {
        let there = [SourceFile::new("CHANGELOG.md", "")];
        assert_eq!(missing_changelog(&there), None);
        let finding = missing_changelog(&[]).unwrap();
        assert_eq!(finding.to_string(), "CHANGELOG.md: there is none: say what changed for users");
    }
}
