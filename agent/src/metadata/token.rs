//! `IMDSv2` tokens that need no memory: each says when it was issued and for how long, and bears a
//! MAC that only the node's key and the caller it was issued to can reproduce.
//!
//! A token is 42 bytes, numbers big-endian, written as 56 characters of base64url:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this layout |
//! | 4 | id of the key |
//! | 8 | issued at, milliseconds since 1970 |
//! | 4 | lifetime, seconds |
//! | 1 | what it is bound to: 1 a pod, 2 an address |
//! | 8 | nonce |
//! | 16 | HMAC-SHA-256 over all of the above and the binding's own bytes, cut to half |

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::protocol::Ttl;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod key_file;
mod rotation;
#[cfg(test)]
mod tests;

pub use key_file::KeyError;
pub use rotation::Keyring;

/// The length of every token, in characters; EC2's own have the same.
pub(crate) const TOKEN_CHARS: usize = 56;

const VERSION: u8 = 1;
const SIGNED: usize = 26;
const TAG: usize = 16;
const RAW: usize = SIGNED + TAG;
const _: () = assert!(RAW * 4 == TOKEN_CHARS * 3, "base64 needs no padding");

/// Whom a token is for; from anybody else it does not count. EC2 binds tokens to the instance (AWS:
/// "Use the Instance Metadata Service to access instance metadata"), here it is the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding<'a> {
    /// The pod with this UID.
    Pod(&'a str),
    /// Whoever has this address: for a PUT that came before the pod behind it was known.
    Address(IpAddr),
}

impl Binding<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::Pod(_) => 1,
            Self::Address(_) => 2,
        }
    }

    fn add_to(&self, mac: &mut hmac::Context) {
        match self {
            Self::Pod(uid) => mac.update(uid.as_bytes()),
            Self::Address(address) => match address.to_canonical() {
                IpAddr::V4(address) => mac.update(&address.octets()),
                IpAddr::V6(address) => mac.update(&address.octets()),
            },
        }
    }
}

/// The key that new tokens are signed with, and the one before it, whose tokens still count.
#[derive(Debug)]
pub(crate) struct Keys {
    current: Key,
    previous: Option<Key>,
}

impl Keys {
    /// Reads the keys from the file `token-key` in `state_dir`, making both where they are missing.
    /// Of several that make it at once, one wins, and all get the winner's.
    pub(crate) fn open(state_dir: &Path, now: SystemTime) -> Result<Self, KeyError> {
        key_file::open(state_dir, now)
    }

    /// Makes a token of [`TOKEN_CHARS`] characters that are safe in a header. Asks nobody but the
    /// kernel's random numbers, so that a PUT never waits.
    pub(crate) fn issue(
        &self,
        binding: &Binding<'_>,
        ttl: Ttl,
        now: SystemTime,
    ) -> Result<String, IssueError> {
        let mut nonce = [0; 8];
        rand::fill(&mut nonce).map_err(|_| IssueError)?;
        // A node whose clock is before 1970 issues tokens that end when the clock is set.
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let signed = Claims {
            key: self.current.id,
            issued_at: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            ttl,
            kind: binding.kind(),
            nonce,
        }
        .to_bytes();
        let tag = self.current.tag(&signed, binding);
        Ok(URL_SAFE_NO_PAD.encode([&signed[..], &tag].concat()))
    }

    /// Says whether `token` was issued here to this caller and still counts.
    pub(crate) fn check(
        &self,
        token: &[u8],
        binding: &Binding<'_>,
        now: SystemTime,
    ) -> Result<Valid, Invalid> {
        let (signed, tag) = decode(token).ok_or(Invalid::Malformed)?;
        let claims = Claims::from_bytes(&signed).ok_or(Invalid::Malformed)?;
        if claims.kind != binding.kind() {
            return Err(Invalid::OtherBinding);
        }
        let key = self.key(claims.key, now).ok_or(Invalid::UnknownKey)?;
        constant_time::verify_slices_are_equal(&key.tag(&signed, binding), &tag)
            .map_err(|_| Invalid::NotIssued)?;
        claims.valid_at(now)
    }

    /// The previous key counts for as long after the change as a token of it can live; beyond, only
    /// a thief would use it.
    fn key(&self, id: u32, now: SystemTime) -> Option<&Key> {
        if self.current.id == id {
            return Some(&self.current);
        }
        let changed = now.duration_since(self.current.created).unwrap_or_default();
        self.previous.as_ref().filter(|key| key.id == id && changed < Ttl::MAX.as_duration())
    }
}

/// One key. The secret itself is kept by `AWS-LC`, which clears it on drop and never prints it.
#[derive(Debug)]
struct Key {
    id: u32,
    created: SystemTime,
    mac: hmac::Key,
}

impl Key {
    fn new(id: u32, created: SystemTime, secret: &[u8; 32]) -> Self {
        Self { id, created, mac: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    fn tag(&self, signed: &[u8; SIGNED], binding: &Binding<'_>) -> [u8; TAG] {
        let mut mac = hmac::Context::with_key(&self.mac);
        mac.update(signed);
        binding.add_to(&mut mac);
        let mut tag = [0; TAG];
        tag.iter_mut().zip(mac.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }
}

/// What a token says of itself.
struct Claims {
    key: u32,
    issued_at: u64,
    ttl: Ttl,
    kind: u8,
    nonce: [u8; 8],
}

impl Claims {
    fn to_bytes(&self) -> [u8; SIGNED] {
        let fields = [
            &[VERSION][..],
            &self.key.to_be_bytes(),
            &self.issued_at.to_be_bytes(),
            &self.ttl.as_secs().to_be_bytes(),
            &[self.kind],
            &self.nonce,
        ];
        let mut bytes = [0; SIGNED];
        bytes.iter_mut().zip(fields.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        bytes
    }

    fn from_bytes(bytes: &[u8; SIGNED]) -> Option<Self> {
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (&key, rest) = rest.split_first_chunk()?;
        let (&issued_at, rest) = rest.split_first_chunk()?;
        let (&ttl, rest) = rest.split_first_chunk()?;
        let (&[kind], rest) = rest.split_first_chunk()?;
        (version == VERSION).then_some(())?;
        Some(Self {
            key: u32::from_be_bytes(key),
            issued_at: u64::from_be_bytes(issued_at),
            ttl: Ttl::from_secs(u32::from_be_bytes(ttl))?,
            kind,
            nonce: rest.try_into().ok()?,
        })
    }

    /// A token from the future is one from before the clock was set back: it was granted its whole
    /// lifetime, and some SDKs cannot do without.
    fn valid_at(&self, now: SystemTime) -> Result<Valid, Invalid> {
        let issued_at = UNIX_EPOCH
            .checked_add(Duration::from_millis(self.issued_at))
            .ok_or(Invalid::Malformed)?;
        let age = now.duration_since(issued_at).unwrap_or_default();
        match self.ttl.as_duration().checked_sub(age) {
            None | Some(Duration::ZERO) => Err(Invalid::Expired),
            Some(remaining) => Ok(Valid { issued_at, remaining }),
        }
    }
}

/// The length is judged before a byte is decoded; then there is one spelling for each token.
fn decode(token: &[u8]) -> Option<([u8; SIGNED], [u8; TAG])> {
    if token.len() != TOKEN_CHARS {
        return None;
    }
    let mut raw = [0; RAW];
    URL_SAFE_NO_PAD.decode_slice(token, &mut raw).ok()?;
    Some((*raw.first_chunk()?, *raw.last_chunk()?))
}

/// A token that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Valid {
    /// When it was issued, to the millisecond.
    pub(crate) issued_at: SystemTime,
    /// For how long it will still count; never zero.
    pub(crate) remaining: Duration,
}

/// Why a token does not count. All are 401 to the caller; which one is for logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("the token is not of this agent's making")]
    Malformed,
    #[error("the token was signed with a key that this node does not have, or no longer")]
    UnknownKey,
    /// A pod's token held against an address, or the reverse: to be checked against the other.
    #[error("the token is bound to the other of pod and address")]
    OtherBinding,
    #[error("the token was issued to another caller, or changed since")]
    NotIssued,
    #[error("the token has expired")]
    Expired,
}

/// No token could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random bytes for a token: the node's getrandom(2) failed")]
pub(crate) struct IssueError;
