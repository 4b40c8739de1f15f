//! Session tags as STS takes them (AWS STS API Reference, "Tag"). What it would refuse is refused here
//! with its reason; nothing is ever cut.

/// The keys of EKS Pod Identity: what policies rest on, so nobody else sets them.
pub const RESERVED: [&str; 6] = [
    "eks-cluster-arn",
    "eks-cluster-name",
    "kubernetes-namespace",
    "kubernetes-service-account",
    "kubernetes-pod-name",
    "kubernetes-pod-uid",
];
/// The longest key, in characters.
const KEY_MAX: usize = 128;
/// The longest value, in characters.
const VALUE_MAX: usize = 256;

/// Why a tag is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The key is empty, too long or has a character that STS refuses.
    #[error("a key is 1 to {KEY_MAX} letters, digits, spaces and _.:/=+-@")]
    Key,
    /// The key is AWS's own.
    #[error("keys that begin with `aws:` are AWS's own")]
    Aws,
    /// The key is one of the six, which the agent sets.
    #[error("the key is one of those that tell which pod it is, in any case of letters")]
    Reserved,
    /// The value is too long or has a character that STS refuses.
    #[error("a value is at most {VALUE_MAX} letters, digits, spaces and _.:/=+-@")]
    Value,
    /// Another tag has the key: STS tells keys apart by more than the case of letters.
    #[error("another tag has the same key, in any case of letters")]
    Twice,
}

/// Checks a key that somebody chose.
///
/// # Errors
/// What is wrong with it.
pub fn check_key(key: &str) -> Result<(), TagError> {
    if key.is_empty() || key.chars().count() > KEY_MAX || !key.chars().all(is_allowed) {
        return Err(TagError::Key);
    }
    if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return Err(TagError::Aws);
    }
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(key)) {
        return Err(TagError::Reserved);
    }
    Ok(())
}

/// Checks a value.
///
/// # Errors
/// What is wrong with it.
pub fn check_value(value: &str) -> Result<(), TagError> {
    let good = value.chars().count() <= VALUE_MAX && value.chars().all(is_allowed);
    if good { Ok(()) } else { Err(TagError::Value) }
}

/// Checks that no two keys are the same to STS.
///
/// # Errors
/// [`TagError::Twice`] with the key that is there a second time.
pub fn check_unique<'a>(
    keys: impl IntoIterator<Item = &'a str>,
) -> Result<(), (&'a str, TagError)> {
    let mut seen = std::collections::HashSet::new();
    let twice = keys.into_iter().find(|key| !seen.insert(key.to_lowercase()));
    twice.map_or(Ok(()), |key| Err((key, TagError::Twice)))
}

fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || " _.:/=+-@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_sts_takes_and_nobody_elses() {
        for key in ["team", "cost center", "a/b:c=d+e@f.g_h-i", "Größe", &"k".repeat(128)] {
            assert_eq!(check_key(key), Ok(()), "{key:?}");
        }
        for (key, error) in [
            ("", TagError::Key),
            ("a,b", TagError::Key),
            ("a\n", TagError::Key),
            (&"k".repeat(129), TagError::Key),
            ("aws:team", TagError::Aws),
            ("AWS:team", TagError::Aws),
            ("kubernetes-namespace", TagError::Reserved),
            ("Kubernetes-Pod-UID", TagError::Reserved),
            ("EKS-CLUSTER-ARN", TagError::Reserved),
        ] {
            assert_eq!(check_key(key), Err(error), "{key:?}");
        }
    }

    #[test]
    fn values_are_what_sts_takes() {
        assert_eq!(check_value(""), Ok(()));
        assert_eq!(check_value(&"é".repeat(256)), Ok(()));
        for value in ["a,b", "a\tb", &"v".repeat(257)] {
            assert_eq!(check_value(value), Err(TagError::Value), "{value:?}");
        }
    }

    #[test]
    fn keys_that_differ_in_case_alone_are_the_same() {
        assert_eq!(check_unique(["team", "stage"]), Ok(()));
        assert_eq!(check_unique(["team", "Team"]), Err(("Team", TagError::Twice)));
    }
}
