//! The session's name: what `CloudTrail` and the ARN of the session show (AWS STS API Reference,
//! "AssumeRole", `RoleSessionName`).

use aws_lc_rs::digest::{SHA256, digest};

/// The longest, in characters.
const NAME_MAX: usize = 64;

/// `NAMESPACE@NAME`, which no two objects share since Kubernetes' names hold no `@`: whoever chooses the
/// name can't sign as another namespace. One that is too long is cut and ends in a hash of the whole.
pub(super) fn session_name(namespace: &str, name: &str) -> Box<str> {
    let whole = format!("{namespace}@{name}");
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let clean: String = whole.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    if clean.len() <= NAME_MAX && clean == whole {
        return clean.into();
    }
    let hash = digest(&SHA256, whole.as_bytes());
    let hash = hash.as_ref().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let cut: String = clean.chars().take(NAME_MAX - "-01234567".len()).collect();
    format!("{cut}-{hash:08x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_session_names_are_cut_readably_and_stay_apart() {
        let long = "a".repeat(80);
        let name = session_name("team", &long);
        assert_eq!(name.len(), 64);
        assert!(name.starts_with("team@aaaa"));
        assert_ne!(name, session_name("team", &format!("{long}b")));
        assert_eq!(name, session_name("team", &long));
        assert_eq!(&*session_name("team", "web-0"), "team@web-0");
        let full = "b".repeat(59);
        assert_eq!(session_name("team", &full).len(), 64);
        assert!(session_name("team", &full).ends_with('b'));
    }

    #[test]
    fn what_a_pod_chooses_stays_within_sts_letters_and_its_namespace() {
        for chosen in ["other@web", "../other@web", "böse", "a\nb", "", "@"] {
            let name = session_name("team", chosen);
            assert!(name.starts_with("team@"), "{name}");
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
            assert!(name.chars().all(allowed) && (2..=64).contains(&name.len()), "{name}");
        }
        assert_ne!(session_name("team", "a/b"), session_name("team", "a-b"));
    }
}
