//! No bytes but those of a token that was issued pass for one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Binding, Claims, Key, Keys, Ttl};

const POD: Binding<'static> = Binding::Pod("0b6bfa2c-8c4e-4a55-9f61-5d2f3a0f1b9e");

/// A value of the token's header.
pub(crate) fn token(input: &[u8]) {
    let now = UNIX_EPOCH + Duration::from_hours(500_000);
    let keys = Keys { current: Key::new(7, UNIX_EPOCH, &[7; 32]), previous: None };
    let issued = issued(&keys, now);
    let text = URL_SAFE_NO_PAD.encode(&issued);
    assert!(keys.check(text.as_bytes(), &POD, now).is_ok(), "a token that was issued is refused");
    let verdict = keys.check(input, &POD, now);
    assert_eq!(verdict.is_ok(), input == text.as_bytes(), "{verdict:?}");
    // The same as changes of the token, each byte of the input one: the first few reach the layout.
    let changed: Vec<u8> =
        issued.iter().zip(input.iter().chain(std::iter::repeat(&0))).map(|(a, b)| a ^ b).collect();
    let verdict = keys.check(URL_SAFE_NO_PAD.encode(&changed).as_bytes(), &POD, now);
    assert_eq!(verdict.is_ok(), changed == issued, "{verdict:?}");
}

/// The bytes of a token that holds at `now`, the same each time.
fn issued(keys: &Keys, now: SystemTime) -> Vec<u8> {
    let issued_at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let signed = Claims {
        key: keys.current.id,
        issued_at: u64::try_from(issued_at).unwrap_or(u64::MAX),
        ttl: Ttl::MAX,
        kind: POD.kind(),
        nonce: [3; 8],
    }
    .to_bytes();
    [&signed[..], &keys.current.tag(&signed, &POD)].concat()
}
