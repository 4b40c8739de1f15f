//! What of the node's own metadata may be read: the paths, and how old an answer may be.
//!
//! Pure. What leaves here for the real service is a [`Permit`], which only [`AllowList::permit`] and
//! [`Permit::as_node`] make, of a [`NodePath`], which no spelling of a pod's is ever part of.

use std::fmt;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// A path below a version, without its slashes at both ends. Its segments are letters, digits and
/// `+-=.,_:@` (which the keys of instance tags may have) and none is `.` or `..`: there is nothing in it
/// that two servers could read in two ways. Never below `meta-data/iam` or `api`, which are answered
/// here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodePath(Box<str>);

impl NodePath {
    /// More than any path of EC2 has.
    const LONGEST: usize = 256;

    /// Takes canonical segments; `None` where the real service has nothing by that path, or where it
    /// is not the real service that answers.
    pub(crate) fn new(segments: &[&str]) -> Option<Self> {
        let path = segments.join("/");
        let good = !segments.is_empty()
            && path.len() <= Self::LONGEST
            && segments.iter().all(|segment| is_segment(segment))
            && !is_at_or_below(&path, "meta-data/iam")
            && !is_at_or_below(&path, "api");
        good.then(|| Self(path.into()))
    }

    /// The path, as in `meta-data/placement/region`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_segment(segment: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

fn is_at_or_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the real service is asked for the path with a slash at its end. It redirects a directory
/// that was asked for without, and lists it with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Slash {
    /// Without: a document. A directory is nothing then.
    Never,
    /// Without, and with one where that is redirected.
    WhereRedirected,
    /// With one: a listing.
    Always,
}

/// A path that may be asked of the real service, and what may be made of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    /// The path.
    pub(crate) path: NodePath,
    /// How it is asked for.
    pub(crate) slash: Slash,
    /// How old an answer may be while the real service answers.
    pub(crate) fresh: Fresh,
}

/// How old an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// What stays as it is while the instance runs, or nearly so. It is kept, and served while the
    /// real service does not answer.
    Static,
    /// What tells of things to come: asked anew, and never served when it is older.
    Volatile,
}

impl Fresh {
    /// The age at which the real service is asked again.
    pub(crate) fn limit(self) -> Duration {
        match self {
            Self::Static => Duration::from_mins(1),
            Self::Volatile => Duration::from_secs(1),
        }
    }
}

impl Permit {
    /// For a caller that is the node itself in all but its role.
    pub(crate) fn as_node(path: NodePath) -> Self {
        Self { path, slash: Slash::WhereRedirected, fresh: Fresh::Volatile }
    }
}

/// Paths that pods may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Entry>);

/// A document, or (`below`) a directory with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: Box<str>,
    below: bool,
    fresh: Fresh,
}

/// What system add-ons and SDKs are known to read; `/` at the end stands for all that is below.
const DEFAULT: &str = "ami-id ami-launch-index autoscaling/target-lifecycle-state \
    block-device-mapping/ events/ hostname instance-action instance-id instance-life-cycle \
    instance-type ipv6 local-hostname local-ipv4 mac network/interfaces/macs/ outpost-arn placement/ \
    public-hostname public-ipv4 reservation-id security-groups services/ spot/ system \
    dynamic/instance-identity/document";

/// What changes while an instance runs, and is asked for because it does.
const VOLATILE: [&str; 7] = [
    "meta-data/spot",
    "meta-data/events",
    "meta-data/autoscaling",
    "meta-data/block-device-mapping",
    "meta-data/network",
    "meta-data/public-hostname",
    "meta-data/public-ipv4",
];

/// What no flag opens: the node's role, documents that prove to be the node, and its start-up script.
const NEVER: [&str; 7] = [
    "meta-data/iam",
    "meta-data/identity-credentials",
    "user-data",
    "dynamic/instance-identity/pkcs7",
    "dynamic/instance-identity/signature",
    "dynamic/instance-identity/rsa2048",
    "api",
];
/// The same, by the beginning of a name.
const NEVER_BEGINNING: &str = "meta-data/iam-eks-";

/// Why a path cannot be in the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It is no path of the metadata service.
    #[error(
        "{0:?} is no path such as tags/ or dynamic/instance-identity/document: letters, digits and +-=.,_:@ between slashes"
    )]
    Malformed(String),
    /// It is, or holds, what would make a pod the node.
    #[error(
        "{path:?} would show pods {forbidden}, by which they would be the node: that is never passed on"
    )]
    Never {
        /// The path as given.
        path: String,
        /// What it would show.
        forbidden: &'static str,
    },
}

impl AllowList {
    /// Reads words: `default`, `none`, or paths below `meta-data/` (or `dynamic/`) where a slash at the
    /// end adds all that is below.
    pub(crate) fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, PathError> {
        let mut entries = Vec::new();
        for word in words.filter(|word| !word.is_empty()) {
            match word {
                "none" => {}
                "default" => {
                    for path in DEFAULT.split_whitespace() {
                        let entry = Entry::parse(path)?;
                        let fresh = usual_fresh(&entry.path);
                        entries.push(Entry { fresh, ..entry });
                    }
                }
                path => entries.push(Entry::parse(path)?),
            }
        }
        Ok(Self(entries))
    }

    /// How `path` may be asked for by a pod, if at all: whole, or as a listing of which
    /// [`Self::shows`] says the lines that may be seen.
    pub(crate) fn permit(&self, path: &NodePath) -> Option<Permit> {
        if forbidden(path.as_str()).is_some() {
            return None;
        }
        let of = |slash, fresh| Some(Permit { path: path.clone(), slash, fresh });
        match self.0.iter().find(|entry| entry.covers(path.as_str())) {
            Some(Entry { below: true, fresh, .. }) => of(Slash::WhereRedirected, *fresh),
            Some(Entry { below: false, fresh, .. }) => of(Slash::Never, *fresh),
            None if self.leads(path.as_str()) => of(Slash::Always, usual_fresh(path.as_str())),
            None => None,
        }
    }

    /// Whether a line of the listing of `directory` may be seen.
    pub(crate) fn shows(&self, directory: &str, line: &str) -> bool {
        let path = format!("{directory}/{}", line.trim_end_matches('/'));
        let segments = path.split('/').collect::<Vec<_>>();
        NodePath::new(&segments).is_some_and(|path| self.permit(&path).is_some())
    }

    /// Whether something below `directory` is in the list.
    fn leads(&self, directory: &str) -> bool {
        self.0.iter().any(|entry| {
            entry.path.len() > directory.len() && is_at_or_below(&entry.path, directory)
        })
    }
}

impl Entry {
    fn parse(given: &str) -> Result<Self, PathError> {
        let bare = given.strip_suffix("**").unwrap_or(given);
        let (bare, below) = match bare.strip_suffix('/') {
            Some(directory) => (directory, true),
            None => (bare, false),
        };
        let mut segments: Vec<&str> = bare.split('/').collect();
        if !["meta-data", "dynamic", "user-data", "api"]
            .contains(&bare.split('/').next().unwrap_or_default())
        {
            segments.insert(0, "meta-data");
        }
        if !segments.iter().all(|segment| is_segment(segment)) {
            return Err(PathError::Malformed(given.to_owned()));
        }
        let path = segments.join("/");
        let held = NEVER.into_iter().find(|never| below && is_at_or_below(never, &path));
        if let Some(forbidden) = forbidden(&path).or(held) {
            return Err(PathError::Never { path: given.to_owned(), forbidden });
        }
        Ok(Self { path: path.into(), below, fresh: Fresh::Volatile })
    }

    fn covers(&self, path: &str) -> bool {
        if self.below { is_at_or_below(path, &self.path) } else { *path == *self.path }
    }
}

/// What `path` is of the things that never pass, if it is one.
fn forbidden(path: &str) -> Option<&'static str> {
    let by_name = NEVER.into_iter().find(|never| is_at_or_below(path, never));
    by_name.or(path.starts_with(NEVER_BEGINNING).then_some("meta-data/iam-eks-*"))
}

fn usual_fresh(path: &str) -> Fresh {
    if VOLATILE.iter().any(|volatile| is_at_or_below(path, volatile)) {
        Fresh::Volatile
    } else {
        Fresh::Static
    }
}
