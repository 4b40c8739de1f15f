//! `lines`: how much code there is, room by room, without blank lines and comments.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::rust_source;
use crate::workspace::Workspace;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    product: usize,
    tests: usize,
}

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut rooms = BTreeMap::<String, Lines>::new();
    let mut total = Lines::default();
    for path in workspace.files()? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = count(&path, &fs::read_to_string(workspace.root().join(&path))?);
            rooms.entry(room(&path)).or_default().add(lines);
            total.add(lines);
        }
    }
    println!("{:<24}{:>8}{:>8}", "", "code", "tests");
    for (room, Lines { product, tests }) in rooms {
        println!("{room:<24}{product:>8}{tests:>8}");
    }
    println!("{:<24}{:>8}{:>8}", "total", total.product, total.tests);
    Ok(())
}

impl Lines {
    fn add(&mut self, Self { product, tests }: Self) {
        self.product += product;
        self.tests += tests;
    }
}

/// `agent/kernel`, `agent`, `xtask` …
fn room(path: &Path) -> String {
    let mut parts = path.iter().map(|part| part.to_string_lossy());
    let package = parts.next().unwrap_or_default();
    match parts.nth(1) {
        Some(room) if package == "agent" => format!("agent/{}", room.trim_end_matches(".rs")),
        _ => package.into_owned(),
    }
}

fn count(path: &Path, source: &str) -> Lines {
    let code = rust_source::code_only(source);
    let test_lines = rust_source::test_lines(&code);
    let whole = rust_source::is_test_file(path);
    let is_test = |number| whole || test_lines.iter().any(|lines| lines.contains(&number));
    let mut lines = Lines::default();
    for (number, _) in code.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if is_test(number) { lines.tests += 1 } else { lines.product += 1 }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_do_not_count_and_tests_count_apart() {
        let source = "//! Doc.\n\nfn a() {} // b\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
        let lines = count(Path::new("agent/src/a.rs"), source);
        assert_eq!(lines, Lines { product: 1, tests: 4 });
        let lines = count(Path::new("tests/src/a.rs"), source);
        assert_eq!(lines, Lines { product: 0, tests: 5 });
    }

    #[test]
    fn the_agent_is_counted_room_by_room() {
        assert_eq!(room(Path::new("agent/src/kernel/maps.rs")), "agent/kernel");
        assert_eq!(room(Path::new("agent/src/kernel.rs")), "agent/kernel");
        assert_eq!(room(Path::new("agent/build.rs")), "agent");
        assert_eq!(room(Path::new("agent-ebpf/src/main.rs")), "agent-ebpf");
    }
}
