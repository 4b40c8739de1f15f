//! One spelling for each path, made before anything is decided on it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

/// Segments of a path; those of nearly every path find room without more.
pub(super) type Segments<'p> = SmallVec<[&'p str; 8]>;

/// A path of printable ASCII that starts with `/`, has neither an empty nor a `.` or `..` segment,
/// and ends in `/` only where that is all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Canonical<'r>(pub(super) Cow<'r, str>);

impl<'r> Canonical<'r> {
    /// Percent-decodes exactly once, drops what clients append by mistake (boto 2 sends a role as
    /// `my-role%0D`), and resolves the path; `None` where that leaves what no path of EC2 has.
    pub(super) fn of(raw: &'r str) -> Option<Self> {
        if let Some(path) = as_it_is(raw) {
            return Some(Self(Cow::Borrowed(path)));
        }
        let decoded = percent_decode_str(raw).decode_utf8().ok()?;
        let path = decoded.trim_end_matches(['\r', '\n', ' ']);
        path.bytes().all(|byte| matches!(byte, b' '..=b'~')).then(|| Canonical::resolve(path))
    }

    /// As RFC 3986 section 5.2.4 (`..` at the root stays there), but `//` is one slash and a slash
    /// at the end is none: EC2's clients ask for `…/instance-identity//document/` and expect it.
    pub(super) fn resolve(path: &str) -> Canonical<'static> {
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
        Canonical(Cow::Owned(format!("/{}", kept.join("/"))))
    }

    pub(super) fn segments(&self) -> Segments<'_> {
        self.0.split('/').filter(|segment| !segment.is_empty()).collect()
    }

    /// All from this many bytes on.
    pub(super) fn into_rest(self, from: usize) -> Cow<'r, str> {
        match self.0 {
            Cow::Borrowed(path) => Cow::Borrowed(path.get(from..).unwrap_or_default()),
            Cow::Owned(path) => Cow::Owned(path.get(from..).unwrap_or_default().to_owned()),
        }
    }
}

/// A path that needs nothing but the slash at its end taken off, as nearly every client spells it.
fn as_it_is(raw: &str) -> Option<&str> {
    let path = raw.strip_suffix('/').unwrap_or(raw);
    let mut before = None;
    let mut is_plain = |byte: u8| {
        let begins_segment = before.replace(byte) == Some(b'/');
        matches!(byte, b'!'..=b'~')
            && byte != b'%'
            && !(begins_segment && matches!(byte, b'/' | b'.'))
    };
    let plain = path.starts_with('/') && path.bytes().all(&mut is_plain) && !path.ends_with('/');
    plain.then_some(path)
}
