//! Every case of the protocol is a row of a table here, or held by a test that is named, or says why not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::elsewhere::{ELSEWHERE, UNTESTED};

/// Letter and count of each group of cases: tokens (T), their check (A), listings and paths (L),
/// credentials (C), `iam/info` and what is refused (I), region and the like (R), faults (E), HTTP (H),
/// lifetimes (F), sockets (B), container credentials (K).
const GROUPS: [(char, usize); 11] = [
    ('T', 23),
    ('A', 14),
    ('L', 24),
    ('C', 21),
    ('I', 6),
    ('R', 10),
    ('E', 15),
    ('H', 17),
    ('F', 6),
    ('B', 6),
    ('K', 7),
];

fn all() -> BTreeSet<String> {
    let group = |(letter, count)| (1..=count).map(move |number| format!("{letter}{number:02}"));
    GROUPS.into_iter().flat_map(group).collect()
}

/// The numbers that string literals of a source file begin with.
fn literals(source: &str) -> BTreeSet<String> {
    let after_quotes = source.split('"').skip(1);
    let heads = after_quotes.filter_map(|text| {
        let (id, rest) = (text.get(..3)?, text.get(3..)?);
        let is_id = id.starts_with(|c: char| GROUPS.iter().any(|(letter, _)| *letter == c))
            && id[1..].bytes().all(|byte| byte.is_ascii_digit())
            && (rest.is_empty() || rest.starts_with([' ', ':']));
        is_id.then(|| id.to_owned())
    });
    heads.collect()
}

/// A file's text, or that of all files below a directory.
fn text_of(path: &Path) -> Result<String> {
    if !path.is_dir() {
        return Ok(fs::read_to_string(path)?);
    }
    let mut text = String::new();
    for entry in fs::read_dir(path)? {
        text += &text_of(&entry?.path())?;
    }
    Ok(text)
}

#[test]
fn every_case_is_held_by_a_test() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(&here)? {
        let path = entry?.path();
        if !path.ends_with("elsewhere.rs") && !path.ends_with("ids.rs") {
            held.extend(literals(&fs::read_to_string(&path)?));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (ids, file, test) in ELSEWHERE {
        let text = text_of(&root.join(file)).with_context(|| (*file).to_owned())?;
        ensure!(text.contains(&format!("fn {test}(")), "{file} has no test {test} for {ids:?}");
        held.extend(ids.iter().map(|id| (*id).to_owned()));
    }
    for (ids, reason) in UNTESTED {
        ensure!(!reason.is_empty(), "no reason for {ids:?}");
        held.extend(ids.iter().map(|id| (*id).to_owned()));
    }
    let all = all();
    assert_eq!(all.len(), 149);
    let missing: Vec<_> = all.difference(&held).collect();
    let unknown: Vec<_> = held.difference(&all).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
    Ok(())
}
