//! The lifetime of a token, as a PUT asks for it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of a token's lifetime, on the PUT and echoed on its answer.
pub(crate) const TTL_HEADER: HeaderName =
    HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// A token's lifetime: 1 to 21600 whole seconds (AWS: "Use the Instance Metadata Service to access
/// instance metadata"). Granted as asked, never cut: the SDK for Rust keeps a token to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ttl(u32);

impl Ttl {
    /// Six hours.
    pub(crate) const MAX: Self = Self(21_600);

    /// Takes a number of seconds; `None` outside 1 to 21600.
    pub(crate) fn from_secs(seconds: u32) -> Option<Self> {
        (1..=Self::MAX.0).contains(&seconds).then_some(Self(seconds))
    }

    /// Reads [`TTL_HEADER`]. Said twice it must say the same: a 400 ends every SDK's attempts, so
    /// it is for requests that mean nothing.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, TtlError> {
        let mut values = headers.get_all(TTL_HEADER).iter();
        let first = Self::from_value(values.next().ok_or(TtlError::Missing)?)?;
        for value in values {
            if Self::from_value(value)? != first {
                return Err(TtlError::Ambiguous);
            }
        }
        Ok(first)
    }

    fn from_value(value: &HeaderValue) -> Result<Self, TtlError> {
        let digits = value.as_bytes();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(TtlError::NotSeconds);
        }
        // Digits that do not fit an u32 are a number out of range.
        let seconds = value.to_str().ok().and_then(|text| text.parse().ok());
        seconds.and_then(Self::from_secs).ok_or(TtlError::OutOfRange)
    }

    /// The lifetime in seconds.
    pub(crate) fn as_secs(self) -> u32 {
        self.0
    }

    /// The lifetime.
    pub(crate) fn as_duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

/// Why a PUT for a token is answered with 400. The value itself is the caller's and stays out of
/// the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TtlError {
    #[error("the request has no {TTL_HEADER} header: send one with 1 to 21600 seconds")]
    Missing,
    #[error("the {TTL_HEADER} header is no whole number: send 1 to 21600 seconds")]
    NotSeconds,
    #[error("the {TTL_HEADER} header is out of range: send 1 to 21600 seconds")]
    OutOfRange,
    #[error("the request has {TTL_HEADER} headers that differ: send one")]
    Ambiguous,
}
