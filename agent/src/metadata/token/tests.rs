//! Tokens hold for exactly whom and how long they were issued, and nothing else does.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Binding, Claims, Invalid, Key, Keys, TOKEN_CHARS, Valid};
use crate::metadata::protocol::Ttl;

const UID: &str = "0b6bfa2c-8c4e-4a55-9f61-5d2f3a0f1b9e";
const POD: Binding<'static> = Binding::Pod(UID);

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

fn after(duration: Duration) -> SystemTime {
    start() + duration
}

fn ttl(seconds: u32) -> Ttl {
    Ttl::from_secs(seconds).expect("a lifetime in range")
}

fn address(text: &str) -> Binding<'static> {
    Binding::Address(text.parse::<IpAddr>().expect("an address"))
}

fn key(id: u32, created: SystemTime, first: u8) -> Key {
    Key::new(id, created, &std::array::from_fn(|place| first + u8::try_from(place).unwrap()))
}

fn keys() -> Keys {
    Keys { current: key(7, UNIX_EPOCH, 0), previous: None }
}

fn issue(binding: &Binding<'_>, seconds: u32) -> String {
    keys().issue(binding, ttl(seconds), start()).expect("a token")
}

#[track_caller]
fn check(token: &str, binding: &Binding<'_>, now: SystemTime) -> Result<Valid, Invalid> {
    keys().check(token.as_bytes(), binding, now)
}

#[test]
fn a_token_is_fifty_six_characters_that_a_header_can_carry() {
    let token = issue(&POD, 21_600);
    assert_eq!(token.len(), TOKEN_CHARS);
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{token}");
}

#[test]
fn a_valid_token_says_when_it_was_issued_and_how_long_it_holds() {
    let token = issue(&POD, 60);
    let valid = Valid { issued_at: start(), remaining: Duration::from_mins(1) };
    assert_eq!(check(&token, &POD, start()), Ok(valid));
    let valid = Valid { remaining: Duration::from_millis(17_500), ..valid };
    assert_eq!(check(&token, &POD, after(Duration::from_millis(42_500))), Ok(valid));
}

#[test]
fn a_token_ends_with_its_last_millisecond() {
    for seconds in [1, 60, 21_600] {
        let token = issue(&POD, seconds);
        let whole = Duration::from_secs(u64::from(seconds));
        let almost = after(whole) - Duration::from_millis(1);
        let remaining = check(&token, &POD, almost).map(|valid| valid.remaining);
        assert_eq!(remaining, Ok(Duration::from_millis(1)), "{seconds}");
        assert_eq!(check(&token, &POD, after(whole)), Err(Invalid::Expired), "{seconds}");
        let much_later = after(whole * 1_000);
        assert_eq!(check(&token, &POD, much_later), Err(Invalid::Expired), "{seconds}");
    }
}

#[test]
fn a_clock_set_back_takes_nothing_from_a_token() {
    let valid = check(&issue(&POD, 60), &POD, UNIX_EPOCH).unwrap();
    assert_eq!(valid, Valid { issued_at: start(), remaining: Duration::from_mins(1) });
}

#[test]
fn a_clock_before_1970_still_issues() {
    let before = UNIX_EPOCH - Duration::from_secs(1);
    let token = keys().issue(&POD, ttl(60), before).unwrap();
    assert_eq!(check(&token, &POD, before).map(|valid| valid.issued_at), Ok(UNIX_EPOCH));
}

#[test]
fn a_token_is_for_one_pod_alone() {
    let token = issue(&POD, 60);
    for other in ["0b6bfa2c-8c4e-4a55-9f61-5d2f3a0f1b9f", "0b6bfa2c", ""] {
        assert_eq!(check(&token, &Binding::Pod(other), start()), Err(Invalid::NotIssued));
    }
    assert_eq!(check(&token, &address("10.0.0.9"), start()), Err(Invalid::OtherBinding));
}

#[test]
fn a_token_of_an_address_is_for_that_address_alone() {
    for (issued_to, spelled) in
        [("10.0.0.9", "::ffff:10.0.0.9"), ("::ffff:10.0.0.9", "10.0.0.9"), ("fd00::9", "fd00:0::9")]
    {
        let token = issue(&address(issued_to), 60);
        assert!(check(&token, &address(issued_to), start()).is_ok(), "{issued_to}");
        assert!(check(&token, &address(spelled), start()).is_ok(), "{issued_to} {spelled}");
        for other in ["10.0.0.8", "fd00::8", "::10.0.0.9"] {
            assert_eq!(check(&token, &address(other), start()), Err(Invalid::NotIssued), "{other}");
        }
        assert_eq!(check(&token, &POD, start()), Err(Invalid::OtherBinding), "{issued_to}");
    }
}

#[test]
fn a_uid_that_reads_like_an_address_is_not_one() {
    let token = issue(&address("49.50.51.52"), 60);
    assert_eq!(check(&token, &Binding::Pod("1234"), start()), Err(Invalid::OtherBinding));
}

#[test]
fn every_single_bit_matters() {
    let raw = URL_SAFE_NO_PAD.decode(issue(&POD, 60)).unwrap();
    for bit in 0..raw.len() * 8 {
        let mut changed = raw.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = URL_SAFE_NO_PAD.encode(changed);
        assert!(check(&changed, &POD, start()).is_err(), "bit {bit}");
    }
}

#[test]
fn garbage_is_not_a_token() {
    let token = issue(&POD, 60);
    for garbage in [
        "",
        "garbage",
        &token[1..],
        &token[..55],
        &format!("{token}="),
        &format!("{token}\n"),
        &format!("{}=", &token[..55]),
        &format!(" {}", &token[1..]),
        &format!("{}+", &token[..55]),
        &"A".repeat(56),
        &"=".repeat(56),
        &"\u{e9}".repeat(28),
        &token.repeat(1_000),
    ] {
        assert_eq!(check(garbage, &POD, start()), Err(Invalid::Malformed), "{garbage:?}");
    }
    assert_eq!(keys().check(&[0xff; TOKEN_CHARS], &POD, start()), Err(Invalid::Malformed));
}

#[test]
fn tokens_of_the_same_moment_differ() {
    let mut tokens: Vec<_> = (0..1_000).map(|_| issue(&POD, 60)).collect();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 1_000);
}

/// Made by another implementation from the table in the module's documentation, and for ever valid:
/// an upgrade that refuses them cuts off every SDK that keeps its token.
#[test]
fn tokens_of_earlier_versions_are_still_read() {
    let of_pod = "AQAAAAcAAAGjGFxQewAAVGABoKGio6Slpqe6dpjmpfBXeeUvKMgVl_BF";
    let of_address = "AQAAAAcAAAGjGFxQewAAADwCoKGio6SlpqcM4uPD0Q2NfL44s1uRycm2";
    let valid = Valid { issued_at: start(), remaining: Duration::from_hours(6) };
    assert_eq!(check(of_pod, &POD, start()), Ok(valid));
    assert!(check(of_address, &address("10.0.0.9"), start()).is_ok());
}

#[test]
fn tokens_of_a_later_layout_are_refused_although_their_tag_is_right() {
    let claims = Claims { key: 7, issued_at: 0, ttl: Ttl::MAX, kind: 1, nonce: [0; 8] };
    let mut signed = claims.to_bytes();
    let seal = |signed: &[u8; 26]| {
        URL_SAFE_NO_PAD.encode([&signed[..], &key(7, UNIX_EPOCH, 0).tag(signed, &POD)].concat())
    };
    assert!(check(&seal(&signed), &POD, UNIX_EPOCH).is_ok());
    signed[0] += 1;
    assert_eq!(check(&seal(&signed), &POD, UNIX_EPOCH), Err(Invalid::Malformed));
}

#[test]
fn the_previous_key_counts_for_as_long_as_its_tokens_can_live() {
    let old = Keys { current: key(1, UNIX_EPOCH, 0), previous: None };
    let changed = after(Duration::from_secs(10));
    let new = Keys { current: key(2, changed, 100), previous: Some(key(1, UNIX_EPOCH, 0)) };
    let longest = old.issue(&POD, Ttl::MAX, start()).unwrap();
    let last = after(Ttl::MAX.as_duration()) - Duration::from_millis(1);
    assert!(new.check(longest.as_bytes(), &POD, last).is_ok());
    assert!(new.check(longest.as_bytes(), &POD, start()).is_ok(), "a clock that was set back");

    let forged = old.issue(&POD, Ttl::MAX, changed + Ttl::MAX.as_duration()).unwrap();
    let forged = new.check(forged.as_bytes(), &POD, changed + Ttl::MAX.as_duration());
    assert_eq!(forged, Err(Invalid::UnknownKey));
}

#[test]
fn new_tokens_are_signed_with_the_current_key() {
    let keys = Keys { current: key(2, start(), 100), previous: Some(key(1, UNIX_EPOCH, 0)) };
    let token = keys.issue(&POD, ttl(60), start()).unwrap();
    let current = Keys { current: key(2, start(), 100), previous: None };
    assert!(current.check(token.as_bytes(), &POD, start()).is_ok());
}

#[test]
fn tokens_of_unknown_keys_are_refused() {
    let token = issue(&POD, 60);
    let other = Keys { current: key(8, start(), 0), previous: None };
    assert_eq!(other.check(token.as_bytes(), &POD, start()), Err(Invalid::UnknownKey));
    let others = Keys { previous: Some(key(9, UNIX_EPOCH, 1)), ..other };
    assert_eq!(others.check(token.as_bytes(), &POD, start()), Err(Invalid::UnknownKey));
    let same_id = Keys { current: key(7, UNIX_EPOCH, 1), previous: None };
    assert_eq!(same_id.check(token.as_bytes(), &POD, start()), Err(Invalid::NotIssued));
}

#[test]
fn keys_are_not_printed() {
    let shown = format!("{:?}", keys());
    assert!(shown.contains("id: 7") && !shown.contains("31"), "{shown}");
}
