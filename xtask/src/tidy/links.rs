//! Documents point to files that are there.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Finding, SourceFile};

/// Relative links of all documents that lead nowhere.
pub(super) fn dead_links(files: &[SourceFile]) -> Vec<Finding> {
    let known: BTreeSet<&Path> = files.iter().flat_map(|file| file.path.ancestors()).collect();
    let documents = files.iter().filter(|file| file.path.extension().is_some_and(|e| e == "md"));
    documents.flat_map(|file| dead_links_of(file, &known)).collect()
}

fn dead_links_of(file: &SourceFile, known: &BTreeSet<&Path>) -> Vec<Finding> {
    let from = file.path.parent().unwrap_or(Path::new(""));
    let lines = file.text.lines().enumerate();
    let found = lines.flat_map(|(number, line)| targets(line).map(move |target| (number, target)));
    let dead = found.filter(|(_, target)| !known.contains(resolve(from, target).as_path()));
    dead.map(|(number, target)| {
        file.in_line(number, format!("links to {target}, which is not there"))
    })
    .collect()
}

/// The relative targets of a line's `[text](target)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split_once(')')?.0;
        let target = target.split_once('#').map_or(target, |(path, _)| path);
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

fn resolve(from: &Path, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in from.join(target).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_and_directories_are_followed_from_their_document() {
        let files = [
            SourceFile::new(
                "docs/a.md",
                "[b](b.md#part) [up](../README.md) [dir](../deploy)\n[no](c.md)",
            ),
            SourceFile::new("docs/b.md", "[web](https://example.org) [here](#part)"),
            SourceFile::new("README.md", ""),
            SourceFile::new("deploy/rbac.yaml", ""),
        ];
        let findings = dead_links(&files);
        assert_eq!(
            findings.len(),
            1,
            "{:?}",
            findings.iter().map(ToString::to_string).collect::<Vec<_>>()
        );
        assert_eq!(findings[0].to_string(), "docs/a.md:2: links to c.md, which is not there");
    }
}
