//! What is asked: the method and the target of a request become one of the documents that are
//! answered here, or an answer that needs no document.
//!
//! Pure, and without knowledge of who asks. Nothing is ever decided on a path that has not been
//! made [`Canonical`], so no spelling of a path reaches anything that its plain spelling does not.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::percent_decode_str;

#[cfg(test)]
mod tests;

/// The header of a token's lifetime, on the PUT and echoed on its answer.
pub(crate) const TTL_HEADER: HeaderName =
    HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

const LATEST: &str = "latest";

/// The version that brought `iam/` (AWS: "Instance metadata categories").
const IAM_SINCE: &str = "2012-01-12";

/// The versions that EC2 lists at `/`, oldest first. As text they sort by age, `latest` last.
pub(crate) const VERSIONS: [&str; 26] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    LATEST,
];

/// A document that was asked for with a method that suits it: PUT for the token, GET or HEAD for
/// every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `/latest/api/token`
    Token,
    /// `/`
    Versions,
    /// `/latest`, or another listed version
    Version,
    /// `/V/meta-data`
    MetaData,
    /// `/V/meta-data/iam`
    Iam,
    /// `/V/meta-data/iam/security-credentials`
    RoleList,
    /// `/V/meta-data/iam/security-credentials/ROLE`: a name, a path and name, or an ARN, as it was
    /// written and never empty. Whether it is the caller's role is for others to say.
    Role(String),
    /// `/V/meta-data/iam/info`
    IamInfo,
}

/// What the request line settles alone. Where tokens are required, a missing or bad token still
/// comes first: EC2 answers 401, not 404, for an unknown path without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// 404: nothing is there.
    NotFound,
    /// 405, with this `Allow`.
    MethodNotAllowed(Allow),
    /// 200 without a body, with this `Allow`: the answer to OPTIONS.
    Options(Allow),
    /// 403: a token was asked for under a version other than `latest` (AWS: "Use the Instance
    /// Metadata Service to access instance metadata").
    Forbidden,
    /// 400: the target is `*` or an authority, which name no document.
    BadRequest,
}

/// The methods that a path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allow {
    /// The token's path.
    Token,
    /// Every other path.
    Document,
}

impl Allow {
    /// The value of the `Allow` header; the token's is as EC2 was seen to send it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "OPTIONS, PUT",
            Self::Document => "GET, HEAD, OPTIONS",
        }
    }

    fn permits(self, method: &Method) -> bool {
        match self {
            Self::Token => method == Method::PUT,
            Self::Document => method == Method::GET || method == Method::HEAD,
        }
    }
}

/// Says which document a request is for. Query, scheme, authority and `Host` play no part.
pub(crate) fn classify(method: &Method, uri: &Uri) -> Result<Asked, Settled> {
    let raw = uri.path();
    if !raw.starts_with('/') {
        return Err(Settled::BadRequest);
    }
    let path = Canonical::of(raw).ok_or(Settled::NotFound)?;
    let asked = route(&path.segments())?;
    let allow = if asked == Asked::Token { Allow::Token } else { Allow::Document };
    if allow.permits(method) {
        Ok(asked)
    } else if method == Method::OPTIONS {
        Err(Settled::Options(allow))
    } else {
        Err(Settled::MethodNotAllowed(allow))
    }
}

fn route(segments: &[&str]) -> Result<Asked, Settled> {
    let Some((version, rest)) = segments.split_first() else {
        return Ok(Asked::Versions);
    };
    if !VERSIONS.contains(version) {
        return Err(Settled::NotFound);
    }
    match rest {
        [] => Ok(Asked::Version),
        ["api", "token"] if *version == LATEST => Ok(Asked::Token),
        ["api", "token"] => Err(Settled::Forbidden),
        ["meta-data", rest @ ..] if *version >= IAM_SINCE => meta_data(rest),
        _ => Err(Settled::NotFound),
    }
}

fn meta_data(segments: &[&str]) -> Result<Asked, Settled> {
    match segments {
        [] => Ok(Asked::MetaData),
        ["iam"] => Ok(Asked::Iam),
        ["iam", "info"] => Ok(Asked::IamInfo),
        ["iam", "security-credentials"] => Ok(Asked::RoleList),
        ["iam", "security-credentials", role @ ..] => Ok(Asked::Role(role.join("/"))),
        // SDKs fall back from `security-credentials-extended` on 404 and on nothing else.
        _ => Err(Settled::NotFound),
    }
}

/// A path of printable ASCII that starts with `/`, has neither an empty nor a `.` or `..` segment,
/// and ends in `/` only where that is all of it.
struct Canonical(String);

impl Canonical {
    /// Percent-decodes exactly once, drops what clients append by mistake (boto 2 sends a role as
    /// `my-role%0D`), and resolves the path; `None` where that leaves what no path of EC2 has.
    fn of(raw: &str) -> Option<Self> {
        let decoded = percent_decode_str(raw).decode_utf8().ok()?;
        let path = decoded.trim_end_matches(['\r', '\n', ' ']);
        path.bytes().all(|byte| matches!(byte, b' '..=b'~')).then(|| Self::resolve(path))
    }

    /// As RFC 3986 section 5.2.4 (`..` at the root stays there), but `//` is one slash and a slash
    /// at the end is none: EC2's clients ask for `…/instance-identity//document/` and expect it.
    fn resolve(path: &str) -> Self {
        let mut kept = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    kept.pop();
                }
                name => kept.push(name),
            }
        }
        Self(format!("/{}", kept.join("/")))
    }

    fn segments(&self) -> Vec<&str> {
        self.0.split('/').filter(|segment| !segment.is_empty()).collect()
    }
}

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
