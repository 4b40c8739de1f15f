//! What kubelet calls a pod in the name of its cgroup: its UID, or for a static pod the hash of its
//! configuration.

use std::fmt;

/// The name that kubelet gave a pod's cgroup. It is the pod's for its whole life, and no other's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    kind: Kind,
    length: u8,
    text: [u8; UID_LENGTH],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Uid,
    ConfigHash,
}

/// RFC 9562, section 4: 32 hexadecimal digits in groups.
const UID_LENGTH: usize = 36;
/// Where the hyphens between the groups stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
/// An MD5 in hexadecimal digits (kubelet, `pkg/kubelet/config`: the UID of a pod from a file).
const HASH_LENGTH: usize = 32;

impl PodKey {
    /// Of a pod that the API server knows by this UID, written as the API server writes it.
    #[must_use]
    pub fn of_uid(text: &str) -> Option<Self> {
        let is_right = |(at, byte): (usize, &u8)| match byte {
            b'-' => HYPHENS.contains(&at),
            byte => !HYPHENS.contains(&at) && is_hex(*byte),
        };
        let right = text.len() == UID_LENGTH && text.as_bytes().iter().enumerate().all(is_right);
        right.then(|| Self::new(Kind::Uid, text)).flatten()
    }

    /// Of a static pod: the hash of its configuration, which is its UID for kubelet.
    #[must_use]
    pub fn of_config_hash(text: &str) -> Option<Self> {
        let right = text.len() == HASH_LENGTH && text.bytes().all(is_hex);
        right.then(|| Self::new(Kind::ConfigHash, text)).flatten()
    }

    /// Whether it is a static pod, which the API server knows by the UID of its mirror instead.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.kind == Kind::ConfigHash
    }

    /// The UID or the hash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.length)).unwrap_or_default();
        // It was a `str`.
        str::from_utf8(text).unwrap_or_default()
    }

    fn new(kind: Kind, from: &str) -> Option<Self> {
        let mut text = [0; UID_LENGTH];
        text.get_mut(..from.len())?.copy_from_slice(from.as_bytes());
        Some(Self { kind, length: u8::try_from(from.len()).ok()?, text })
    }

    /// Of a pod that a test calls so.
    #[cfg(test)]
    pub(crate) fn fixture(uid: &str) -> Self {
        Self::new(Kind::Uid, uid).unwrap()
    }
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.as_str())
    }
}
