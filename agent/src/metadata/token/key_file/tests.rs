//! A key file is made once, read for ever, and refused when others can know it.

use std::error::Error as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{FILE, Fault, KeyError, Keys, LIMIT, parse};
use crate::metadata::protocol::Ttl;
use crate::metadata::token::Binding;

const POD: Binding<'static> = Binding::Pod("uid");
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

fn state_dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn put(dir: &Path, text: impl AsRef<[u8]>) {
    fs::write(dir.join(FILE), text).unwrap();
    fs::set_permissions(dir.join(FILE), Permissions::from_mode(0o600)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn agree(one: &Keys, other: &Keys) -> bool {
    let token = one.issue(&POD, Ttl::MAX, now()).unwrap();
    other.check(token.as_bytes(), &POD, now()).is_ok()
}

#[test]
fn a_missing_key_is_made_with_its_directory() {
    let dir = state_dir();
    let state = dir.path().join("var/podrole");
    Keys::open(&state, now()).unwrap();
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join(FILE)), 0o600);
    assert_eq!(names(&state), [FILE], "no draft stays behind");
    let text = fs::read_to_string(state.join(FILE)).unwrap();
    assert!(text.starts_with("podrole-token-key v1\ncurrent "), "{text}");
    assert!(text.contains(" 2027-01-15T08:00:00Z ") && text.ends_with('\n'), "{text}");
}

#[test]
fn tokens_outlive_the_agent() {
    let dir = state_dir();
    let before = Keys::open(dir.path(), now()).unwrap();
    let text = fs::read(dir.path().join(FILE)).unwrap();
    let after = Keys::open(dir.path(), now() + Duration::from_mins(1)).unwrap();
    assert!(agree(&before, &after));
    assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), text, "the file is left as it was");
}

#[test]
fn nodes_do_not_share_a_key() {
    let (one, other) = (state_dir(), state_dir());
    let one = Keys::open(one.path(), now()).unwrap();
    assert!(!agree(&one, &Keys::open(other.path(), now()).unwrap()));
}

#[test]
fn agents_that_start_at_once_agree_on_a_key() {
    for _ in 0..20 {
        let dir = state_dir();
        let open = || Keys::open(dir.path(), now()).unwrap();
        let keys: Vec<Keys> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|other| agree(&keys[0], other)));
        assert_eq!(names(dir.path()), [FILE]);
    }
}

#[test]
fn what_a_killed_agent_left_behind_is_in_nobodys_way() {
    let dir = state_dir();
    fs::write(dir.path().join(".token-key.0123456789abcdef"), "half").unwrap();
    assert!(Keys::open(dir.path(), now()).is_ok());
}

#[test]
fn a_file_of_two_keys_takes_tokens_of_both() {
    let dir = state_dir();
    let other = SECRET.replace("AAEC", "AAED");
    put(dir.path(), format!("podrole-token-key v1\ncurrent 1 2026-05-22T08:18:00Z {SECRET}\n"));
    let old = Keys::open(dir.path(), now()).unwrap();
    put(
        dir.path(),
        format!(
            "podrole-token-key v1\ncurrent 2 2027-01-15T07:59:00Z {other}\n\
             previous 1 2026-05-22T08:18:00Z {SECRET}\n"
        ),
    );
    let new = Keys::open(dir.path(), now()).unwrap();
    assert!(agree(&old, &new));
    assert!(agree(&new, &new) && !agree(&new, &old));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let dir = state_dir();
    Keys::open(dir.path(), now()).unwrap();
    let path = dir.path().join(FILE);
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = Keys::open(dir.path(), now()).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { mode: seen, .. } if seen == mode), "{error}");
        let said = error.to_string();
        assert!(said.contains(path.to_str().unwrap()) && said.contains("remove it"), "{said}");
        assert!(said.contains(&format!("mode {mode:04o}")), "{said}");
    }
}

#[test]
fn only_a_regular_file_is_read() {
    let dir = state_dir();
    let path = dir.path().join(FILE);
    let refused = || match Keys::open(dir.path(), now()) {
        Err(KeyError::NotAFile { path: named }) => named == path,
        other => panic!("{other:?}"),
    };

    fs::create_dir(&path).unwrap();
    assert!(refused(), "a directory");
    fs::remove_dir(&path).unwrap();

    let real = dir.path().join("real");
    put(dir.path(), "");
    fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    assert!(refused(), "a link to a file");
    fs::remove_file(&real).unwrap();
    assert!(refused(), "a link to nothing");
    fs::remove_file(&path).unwrap();

    let _socket = UnixListener::bind(&path).unwrap();
    assert!(refused(), "a socket");
    fs::remove_file(&path).unwrap();

    symlink("/dev/zero", &path).unwrap();
    assert!(refused(), "a link to a device");
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let dir = state_dir();
    for rest in [String::new(), "more ".repeat(10_000)] {
        put(dir.path(), format!("podrole-token-key v2\n{rest}\n"));
        let error = Keys::open(dir.path(), now()).unwrap_err();
        assert!(matches!(error, KeyError::Newer { version: 2, .. }), "{error}");
        assert!(error.to_string().contains("newer podrole (format v2, this one reads v1)"));
    }
}

#[test]
fn faults_name_their_line() {
    let current = format!("current 1 2026-05-22T08:18:00Z {SECRET}");
    let previous = format!("previous 1 2026-05-22T08:18:00Z {SECRET}");
    let file = |rest: &str| format!("podrole-token-key v1\n{rest}\n");
    for (text, line) in [
        (String::new(), 1),
        ("something else\n".to_owned(), 1),
        ("podrole-token-key v0\n".to_owned(), 1),
        ("podrole-token-key v\n".to_owned(), 1),
        ("podrole-token-key v1".to_owned(), 2),
        (file("x".repeat(2_000).as_str()), 2),
        (file(""), 2),
        (file("current"), 2),
        (file("current x 2026-05-22T08:18:00Z AAAA"), 2),
        (file("current 4294967296 2026-05-22T08:18:00Z AAAA"), 2),
        (file("current 1 yesterday AAAA"), 2),
        (file("current 1 2026-05-22T08:18:00Z"), 2),
        (file("current 1 2026-05-22T08:18:00Z AAAA"), 2),
        (file(&format!("{current}AAAA")), 2),
        (file(&format!("{current}=")), 2),
        (file(&format!("{current} more")), 2),
        (file(&current.replace("AAEC", "AA/C")), 2),
        (file(&previous), 2),
        (file(&format!("{current}\n{current}")), 3),
        (file(&format!("{current}\n{previous}")), 3),
        (file(&format!("{current}\n{}\nmore", previous.replace(" 1 ", " 2 "))), 4),
    ] {
        let fault = parse(text.as_bytes()).unwrap_err();
        assert!(matches!(fault, Fault::Line(at, _) if at == line), "{text:?}: {fault:?}");
    }
    let long = current.replace(" 1 ", &format!(" {}1 ", "0".repeat(LIMIT)));
    let too_much = Fault::Line(2, "begins more text than two keys have");
    assert_eq!(parse(file(&long).as_bytes()).unwrap_err(), too_much);
    assert_eq!(parse(b"podrole-token-key v1\xff").unwrap_err(), Fault::Line(1, "is not text"));
}

#[test]
fn a_malformed_file_is_named_with_its_mend_and_without_its_secret() {
    let dir = state_dir();
    put(dir.path(), format!("podrole-token-key v1\ncurrent x 2026-05-22T08:18:00Z {SECRET}\n"));
    let error = Keys::open(dir.path(), now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "line 2 of {}/token-key has no key id: remove the file, and a new key is made at the \
             next start (pods' present tokens then stop working)",
            dir.path().display()
        )
    );
    assert!(!format!("{error:?}").contains(SECRET));
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let dir = state_dir();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = Keys::open(&dir.path().join("file/state"), now()).unwrap_err();
    assert!(matches!(error, KeyError::Io { .. }), "{error}");
    let source = error.source().expect("the system's own words").to_string();
    assert!(!error.to_string().contains(&source), "{error}: {source}");
}
