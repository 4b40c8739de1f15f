//! The agent's modules import downward only: metadata, credentials, roles, callers, kernel.
//!
//! `operate`, `report` and `clock` lie below them all and know none of them. Whatever else stands at the top
//! of the crate (`main`, `app`, `settings`, `lib`) puts the rooms together and may use all; no room
//! may use it.

use std::path::Path;

use super::{Finding, SourceFile};
use crate::rust_source::is_of_word;

/// From the top down.
const ROOMS: [&str; 5] = ["metadata", "credentials", "roles", "callers", "kernel"];

/// Below every room; each uses only those after it.
const GROUND: [&str; 3] = ["operate", "report", "clock"];

pub(super) fn layers(file: &SourceFile) -> Vec<Finding> {
    let Some(from) = room(&file.path).and_then(height) else { return Vec::new() };
    let above = uses(&file.code).into_iter().filter(|used| !is_below(used.module, from));
    above
        .map(|used| {
            let message = format!("uses `crate::{}`, which does not lie below", used.module);
            file.at(used.offset, message)
        })
        .collect()
}

fn is_below(module: &str, from: usize) -> bool {
    height(module).is_some_and(|to| to <= from)
}

/// How high a module stands; none for those that may use all.
fn height(module: &str) -> Option<usize> {
    let from_top = ROOMS.into_iter().chain(GROUND).position(|name| name == module)?;
    Some(ROOMS.len() + GROUND.len() - from_top)
}

/// The module of the agent's crate that a file belongs to.
fn room(path: &Path) -> Option<&str> {
    let inside = path.strip_prefix("agent/src").ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

#[derive(Debug, PartialEq, Eq)]
struct Use<'a> {
    module: &'a str,
    offset: usize,
}

/// Every `crate::module`, in `use` or in an expression, and every member of `crate::{…}`.
fn uses(code: &str) -> Vec<Use<'_>> {
    const ROOT: &str = "crate::";
    let mut found = Vec::new();
    for (at, _) in code.match_indices(ROOT) {
        // `$crate::` of a macro is somebody's crate, `my_crate::` another word.
        if code.get(..at).is_none_or(|before| before.ends_with(|c| is_of_word(c) || c == '$')) {
            continue;
        }
        let offset = at + ROOT.len();
        let Some(path) = code.get(offset..) else { continue };
        let members = path.strip_prefix('{').map_or_else(|| vec![path], members);
        let modules = members.into_iter().map(first_word).filter(|module| !module.is_empty());
        found.extend(modules.map(|module| Use { module, offset }));
    }
    found
}

/// The members of a brace group, whose opening brace is gone, each from its first word on.
fn members(group: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let mut starts = vec![0];
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().filter_map(|start| group.get(start..).map(str::trim_start)).collect()
}

fn first_word(path: &str) -> &str {
    path.split(|c| !is_of_word(c)).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, refused: &[&str]) {
        let findings = layers(&SourceFile::new(path, text));
        let modules: Vec<_> =
            findings.iter().filter_map(|finding| finding.message.split('`').nth(1)).collect();
        assert_eq!(modules, refused, "{path}: {text}");
    }

    #[test]
    fn a_room_uses_those_below_it() {
        check("agent/src/metadata/handler.rs", "use crate::roles::decide;", &[]);
        check("agent/src/roles.rs", "use crate::callers::pods::Pod;", &[]);
        check("agent/src/callers/pods.rs", "use crate::{clock, kernel::maps, operate};", &[]);
        check("agent/src/roles/decide.rs", "use crate::roles::annotations;", &[]);
    }

    #[test]
    fn a_room_does_not_use_those_above_it() {
        check("agent/src/kernel/maps.rs", "use crate::callers::Pod;", &["crate::callers"]);
        check("agent/src/roles.rs", "fn f() { crate::metadata::g() }", &["crate::metadata"]);
        check(
            "agent/src/callers.rs",
            "use crate::{\n    clock::{self, Clock},\n    credentials::{Role, sts},\n    kernel,\n};",
            &["crate::credentials"],
        );
    }

    #[test]
    fn the_ground_knows_no_room() {
        check("agent/src/operate/admin.rs", "use crate::kernel::maps;", &["crate::kernel"]);
        check("agent/src/operate/admin.rs", "use crate::clock::Clock;", &[]);
        check("agent/src/clock.rs", "use crate::operate::metrics;", &["crate::operate"]);
    }

    #[test]
    fn what_puts_the_rooms_together_uses_all_and_is_used_by_none() {
        check("agent/src/app.rs", "use crate::{metadata, kernel, settings};", &[]);
        check("agent/src/metadata.rs", "use crate::settings::Settings;", &["crate::settings"]);
    }

    #[test]
    fn comments_strings_and_other_packages_are_not_looked_at() {
        check("agent/src/kernel.rs", "// crate::roles\nconst A: &str = \"crate::roles\";", &[]);
        check("tests/src/kernel.rs", "use crate::roles;", &[]);
        check("agent/src/kernel.rs", "my_crate::roles(); $crate::roles!();", &[]);
    }

    #[test]
    fn the_line_is_told() {
        let file = SourceFile::new("agent/src/kernel.rs", "//! x\n\nuse crate::roles;\n");
        let finding = layers(&file).remove(0).to_string();
        assert!(finding.starts_with("agent/src/kernel.rs:3: "), "{finding}");
    }
}
