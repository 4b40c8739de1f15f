//! One spelling for each path, made before anything is decided on it.

use percent_encoding::percent_decode_str;

/// A path of printable ASCII that starts with `/`, has neither an empty nor a `.` or `..` segment,
/// and ends in `/` only where that is all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Canonical(pub(super) String);

impl Canonical {
    /// Percent-decodes exactly once, drops what clients append by mistake (boto 2 sends a role as
    /// `my-role%0D`), and resolves the path; `None` where that leaves what no path of EC2 has.
    pub(super) fn of(raw: &str) -> Option<Self> {
        let decoded = percent_decode_str(raw).decode_utf8().ok()?;
        let path = decoded.trim_end_matches(['\r', '\n', ' ']);
        path.bytes().all(|byte| matches!(byte, b' '..=b'~')).then(|| Self::resolve(path))
    }

    /// As RFC 3986 section 5.2.4 (`..` at the root stays there), but `//` is one slash and a slash
    /// at the end is none: EC2's clients ask for `…/instance-identity//document/` and expect it.
    pub(super) fn resolve(path: &str) -> Self {
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

    pub(super) fn segments(&self) -> Vec<&str> {
        self.0.split('/').filter(|segment| !segment.is_empty()).collect()
    }
}
