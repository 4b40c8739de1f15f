//! Session tokens: 56 characters of URL-safe base64 that begin with `AQAEA`, as the real ones do.

use anyhow::Context;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use jiff::Timestamp;

/// What a real token's first letters decode to.
const PREFIX: [u8; 3] = [1, 0, 4];
/// Bytes that a token begins with: prefix, expiry (seconds since the epoch), nonce.
const SIGNED: usize = 3 + 8 + 13;
/// Bytes of the MAC after them.
const MAC: usize = 16;

/// Longest lifetime in seconds ("Configure the Instance Metadata Service options").
const MAX_TTL: u32 = 21_600;

/// The key that makes tokens; another process has another.
#[derive(Debug)]
pub struct Key(hmac::Key);

impl Key {
    /// A new key.
    pub fn random() -> anyhow::Result<Self> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).ok().context("no random bytes")?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A token that lasts `ttl` seconds.
    pub fn issue(&self, ttl: u32, now: Timestamp) -> anyhow::Result<String> {
        let mut nonce = [0; 13];
        aws_lc_rs::rand::fill(&mut nonce).ok().context("no random bytes")?;
        let expiry = now.as_second().saturating_add(i64::from(ttl));
        let mut token = [&PREFIX[..], &expiry.to_be_bytes(), &nonce].concat();
        let mac = hmac::sign(&self.0, &token);
        token.extend(mac.as_ref().iter().take(MAC));
        Ok(URL_SAFE.encode(token))
    }

    /// How long a token is still good for; `None` if it is not.
    #[must_use]
    pub fn seconds_left(&self, token: &str, now: Timestamp) -> Option<i64> {
        let bytes = URL_SAFE.decode(token).ok()?;
        let (signed, mac) = bytes.split_at_checked(SIGNED)?;
        let expected = hmac::sign(&self.0, signed);
        let expiry = signed.get(PREFIX.len()..)?.first_chunk().copied()?;
        let left = i64::from_be_bytes(expiry) - now.as_second();
        (expected.as_ref().get(..MAC) == Some(mac) && left > 0).then_some(left)
    }
}

/// The lifetime that a PUT asks for; `None` unless it is 1 to 21600.
#[must_use]
pub fn lifetime(header: Option<&str>) -> Option<u32> {
    header?.trim().parse().ok().filter(|ttl| (1..=MAX_TTL).contains(ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_look_like_real_ones_and_expire() {
        let key = Key::random().unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        let token = key.issue(60, now).unwrap();
        assert_eq!(token.len(), 56);
        assert!(token.starts_with("AQAEA"), "{token}");
        assert_eq!(key.seconds_left(&token, now), Some(60));
        let later = Timestamp::from_second(1_000_060).unwrap();
        assert_eq!(key.seconds_left(&token, later), None);
    }

    #[test]
    fn tokens_of_another_server_and_altered_ones_are_worth_nothing() {
        let (key, other) = (Key::random().unwrap(), Key::random().unwrap());
        let now = Timestamp::from_second(1_000_000).unwrap();
        let token = key.issue(60, now).unwrap();
        assert_eq!(other.seconds_left(&token, now), None);
        assert_eq!(key.seconds_left(&token.replacen("AQAEA", "AQAFA", 1), now), None);
        assert_eq!(key.seconds_left("", now), None);
    }

    #[test]
    fn lifetimes_are_whole_seconds_up_to_six_hours() {
        assert_eq!(lifetime(Some("21600")), Some(21_600));
        for wrong in [None, Some(""), Some("0"), Some("-1"), Some("21601"), Some("1.5")] {
            assert_eq!(lifetime(wrong), None, "{wrong:?}");
        }
    }
}
