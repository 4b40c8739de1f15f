//! What the fuzzers run (`cargo xtask fuzz`); the tests replay every input of `tests/fuzz/corpus`. Each
//! room brings targets of its own, since what they try is private to it.

use crate::{callers, metadata, roles, settings};

/// A function that must bear any input: what it asserts is a property of podrole.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and its corpus's.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target { name: "allowed-roles", run: roles::fuzz::allowed_roles },
    Target { name: "arn", run: roles::fuzz::arn },
    Target { name: "association", run: roles::fuzz::association },
    Target { name: "cgroup-path", run: callers::fuzz::cgroup_path },
    Target { name: "flags", run: settings::fuzz::flags },
    Target { name: "host", run: metadata::fuzz::host },
    Target { name: "node-path", run: metadata::fuzz::node_path },
    Target { name: "path", run: metadata::fuzz::path },
    Target { name: "permitted", run: roles::fuzz::permitted },
    Target { name: "request", run: metadata::fuzz::request },
    Target { name: "role-annotation", run: roles::fuzz::role_annotation },
    Target { name: "token", run: metadata::fuzz::token },
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn corpus() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus")
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{directory:?}: {e}"));
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    #[test]
    fn no_input_of_the_corpus_breaks_its_target() {
        for target in TARGETS {
            let directory = corpus().join(target.name);
            for name in names(&directory) {
                let input = fs::read(directory.join(&name)).unwrap();
                let outcome = std::panic::catch_unwind(|| (target.run)(&input));
                assert!(outcome.is_ok(), "{}/{name}: see above", target.name);
            }
        }
    }

    #[test]
    fn each_target_has_a_corpus_and_each_corpus_a_target() {
        assert_eq!(names(&corpus()), TARGETS.map(|target| target.name));
    }
}
