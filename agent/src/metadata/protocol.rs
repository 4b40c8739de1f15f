//! What is asked: the method and the target of a request become one of the documents that are
//! answered here, or an answer that needs no document.
//!
//! Pure, and without knowledge of who asks. Nothing is ever decided on a path that has not been
//! made [`Canonical`], so no spelling of a path reaches anything that its plain spelling does not.

use std::borrow::Cow;

use http::{HeaderName, Method, Uri};

use super::paths::NodePath;

use self::canonical::Canonical;
pub(crate) use self::ttl::{TTL_HEADER, Ttl};

mod canonical;
#[cfg(test)]
mod tests;
mod ttl;

/// The header of a token.
pub(crate) const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

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
pub(crate) enum Asked<'r> {
    /// `/latest/api/token`
    Token,
    /// `/`
    Versions,
    /// `/latest`, or another listed version
    Version,
    /// `/V/meta-data`
    MetaData(&'static str),
    /// `/V/meta-data/iam`
    Iam,
    /// `/V/meta-data/iam/security-credentials`
    RoleList,
    /// `/V/meta-data/iam/security-credentials/ROLE`: a name, a path and name, or an ARN, as it was
    /// written and never empty. Whether it is the caller's role is for others to say.
    Role(Cow<'r, str>),
    /// `/V/meta-data/iam/info`
    IamInfo,
    /// Any other path of a listed version that the real service may have something at.
    Node(&'static str, NodePath),
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
pub(crate) fn classify<'r>(method: &Method, uri: &'r Uri) -> Result<Asked<'r>, Settled> {
    let raw = uri.path();
    if !raw.starts_with('/') {
        return Err(Settled::BadRequest);
    }
    let path = Canonical::of(raw).ok_or(Settled::NotFound)?;
    let routed = route(&path.segments())?;
    let asked = match routed {
        Routed::To(asked) => asked,
        Routed::Role(at) => Asked::Role(path.into_rest(at)),
    };
    let allow = if asked == Asked::Token { Allow::Token } else { Allow::Document };
    if allow.permits(method) {
        Ok(asked)
    } else if method == Method::OPTIONS {
        Err(Settled::Options(allow))
    } else {
        Err(Settled::MethodNotAllowed(allow))
    }
}

/// Where a path leads; a role is the rest of the path from so many bytes on.
enum Routed {
    To(Asked<'static>),
    Role(usize),
}

fn route(segments: &[&str]) -> Result<Routed, Settled> {
    let Some((version, rest)) = segments.split_first() else {
        return Ok(Routed::To(Asked::Versions));
    };
    let known = VERSIONS.into_iter().find(|known| known == version);
    let version = known.ok_or(Settled::NotFound)?;
    Ok(Routed::To(match rest {
        [] => Asked::Version,
        ["api", "token"] if version == LATEST => Asked::Token,
        ["api", "token"] => return Err(Settled::Forbidden),
        ["meta-data"] => Asked::MetaData(version),
        ["meta-data", "iam", "security-credentials", _, ..] if version >= IAM_SINCE => {
            // Each segment before the role stands behind a slash, and so does the role.
            let before = segments.iter().take(4).map(|segment| segment.len() + 1);
            return Ok(Routed::Role(before.sum::<usize>() + 1));
        }
        ["meta-data", "iam", rest @ ..] if version >= IAM_SINCE => iam(rest)?,
        ["meta-data" | "dynamic", _, ..] | ["dynamic" | "user-data"] => {
            let path = NodePath::new(rest).ok_or(Settled::NotFound)?;
            Asked::Node(version, path)
        }
        _ => return Err(Settled::NotFound),
    }))
}

fn iam(segments: &[&str]) -> Result<Asked<'static>, Settled> {
    match segments {
        [] => Ok(Asked::Iam),
        ["info"] => Ok(Asked::IamInfo),
        ["security-credentials"] => Ok(Asked::RoleList),
        // SDKs fall back from `security-credentials-extended` on 404 and on nothing else.
        _ => Err(Settled::NotFound),
    }
}

/// Whether a version has `iam/`.
pub(crate) fn has_iam(version: &str) -> bool {
    version >= IAM_SINCE
}
