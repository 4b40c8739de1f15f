//! What a request line asks for. Pure.

use http::{Method, Uri};

use crate::metadata::protocol::{self, Asked};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// An `IMDSv2` token.
    Token,
    /// The name of the role.
    RoleList,
    /// Credentials of a role.
    Credentials(Box<str>),
    /// Something else: a path without its version, as EC2 has it.
    Other(Box<str>),
}

/// The longest path that is kept, in bytes: a line may be cut there.
const PATH_MAX: usize = 80;

impl Ask {
    /// Of a request line (RFC 9112, section 3), which may be cut at its end.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let method: Method = method.parse().ok()?;
        let uri: Uri = target.parse().ok()?;
        Some(match protocol::classify(&method, &uri) {
            Ok(Asked::Token) => Self::Token,
            Ok(Asked::RoleList) => Self::RoleList,
            Ok(Asked::Role(role)) => Self::Credentials(cut(&role)),
            Ok(Asked::IamInfo) => Self::Other("meta-data/iam/info".into()),
            Ok(Asked::Iam) => Self::Other("meta-data/iam".into()),
            Ok(Asked::MetaData(_)) => Self::Other("meta-data".into()),
            Ok(Asked::Node(_, path)) => Self::Other(cut(path.as_str())),
            Ok(Asked::Versions | Asked::Version) => Self::Other("/".into()),
            Err(_) => Self::Other(cut(shown(uri.path()))),
        })
    }
}

/// Without the slashes at its ends and its version.
fn shown(path: &str) -> &str {
    let path = path.trim_matches('/');
    path.strip_prefix("latest/").unwrap_or(path)
}

fn cut(path: &str) -> Box<str> {
    path.chars().filter(char::is_ascii_graphic).take(PATH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let other = |path: &str| Some(Ask::Other(path.into()));
        for (line, expected) in [
            ("PUT /latest/api/token HTTP/1.1", Some(Ask::Token)),
            ("GET /latest/meta-data/iam/security-credentials/ HTTP/1.1", Some(Ask::RoleList)),
            ("GET /latest/meta-data/iam/security-credentials HTTP/1.0", Some(Ask::RoleList)),
            (
                "GET /latest/meta-data/iam/security-credentials/web HTTP/1.1",
                Some(Ask::Credentials("web".into())),
            ),
            (
                "GET /2018-09-24/meta-data/placement/region HTTP/1.1",
                other("meta-data/placement/region"),
            ),
            ("GET /latest/user-data HTTP/1.1", other("user-data")),
            (
                "GET /latest/meta-data/iam/security-credentials/we",
                Some(Ask::Credentials("we".into())),
            ),
            ("GET /computeMetadata/v1/ HTTP/1.1", other("computeMetadata/v1")),
            ("GET", None),
            ("", None),
            ("\u{fffd} x", None),
        ] {
            assert_eq!(Ask::of(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(Ask::of(b"GET /\xff HTTP/1.1"), None);
    }
}
