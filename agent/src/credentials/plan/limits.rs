//! The limits of AssumeRole's parameters (AWS STS API Reference, "AssumeRole"; IAM User Guide, "Pass
//! session tags in AWS STS" and "IAM and AWS STS quotas"). The packed size alone only STS can measure.

use std::collections::HashSet;
use std::time::Duration;

use super::PlanError;
use crate::credentials::session::Tag;

const TAGS_MAX: usize = 50;
const TAG_KEY_MAX: usize = 128;
/// The longest value of a session tag, in characters.
pub const TAG_VALUE_MAX: usize = 256;
const EXTERNAL_ID: std::ops::RangeInclusive<usize> = 2..=1224;
const POLICY_MAX: usize = 2048;
const DURATION: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(15)..=Duration::from_hours(12);

/// Whether a session tag's key or value may hold this: `[\p{L}\p{Z}\p{N}_.:/=+\-@]`.
#[must_use]
pub fn is_tag_character(c: char) -> bool {
    let is_separator = c.is_whitespace() && !c.is_control();
    c.is_alphanumeric() || is_separator || "_.:/=+-@".contains(c)
}

pub(super) fn check_tags(tags: &[Tag]) -> Result<(), PlanError> {
    if tags.len() > TAGS_MAX {
        let what = format!("{} session tags", tags.len()).into();
        return Err(PlanError::Limit { what, why: "STS takes 50" });
    }
    let mut keys = HashSet::with_capacity(tags.len());
    for Tag { key, value } in tags {
        check_key(key)?;
        if value.chars().count() > TAG_VALUE_MAX || !value.chars().all(is_tag_character) {
            return Err(PlanError::Limit {
                what: format!("the session tag {key} has the value {value:?}").into(),
                why: "STS takes at most 256 letters, digits, spaces and _.:/=+-@",
            });
        }
        if !keys.insert(key.to_lowercase()) {
            return Err(PlanError::DuplicateTag(key.clone()));
        }
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), PlanError> {
    let limit = |why| PlanError::Limit { what: format!("the session tag {key:?}").into(), why };
    let length = key.chars().count();
    if length == 0 || length > TAG_KEY_MAX || !key.chars().all(is_tag_character) {
        return Err(limit("STS takes keys of 1 to 128 letters, digits, spaces and _.:/=+-@"));
    }
    if key.get(..4).is_some_and(|beginning| beginning.eq_ignore_ascii_case("aws:")) {
        return Err(limit("keys that begin with aws: are AWS's own"));
    }
    Ok(())
}

pub(super) fn check_external_id(id: &str) -> Result<(), PlanError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if EXTERNAL_ID.contains(&id.len()) && id.chars().all(allowed) {
        return Ok(());
    }
    let what = format!("the external id {id:?}").into();
    Err(PlanError::Limit { what, why: "STS takes 2 to 1224 letters, digits and _+=,.@:/-" })
}

pub(super) fn check_policy(policy: &str) -> Result<(), PlanError> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    let length = policy.chars().count();
    if length == 0 || length > POLICY_MAX || !policy.chars().all(allowed) {
        let what = format!("the session policy of {length} characters").into();
        return Err(PlanError::Limit { what, why: "STS takes 1 to 2048, of Latin-1" });
    }
    let is_object = serde_json::from_str::<serde_json::Map<_, _>>(policy).is_ok();
    if is_object {
        Ok(())
    } else {
        let what = "the session policy".into();
        Err(PlanError::Limit { what, why: "it is no JSON object" })
    }
}

pub(super) fn check_duration(duration: Duration) -> Result<(), PlanError> {
    if DURATION.contains(&duration) {
        return Ok(());
    }
    let what = format!("a session of {} s", duration.as_secs()).into();
    Err(PlanError::Limit { what, why: "STS gives 900 s to 43200 s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag { key: key.into(), value: value.into() }
    }

    #[test]
    fn tags_are_counted_measured_and_told_apart_without_case() {
        let many: Vec<Tag> = (0..50).map(|at| tag(&format!("key{at}"), "")).collect();
        assert_eq!(check_tags(&many), Ok(()));
        assert!(check_tags(&[many, vec![tag("one-more", "")]].concat()).is_err());
        let long = "ü".repeat(256);
        assert_eq!(check_tags(&[tag(&"k".repeat(128), &long)]), Ok(()));
        for (key, value) in [
            ("", "a"),
            ("aws:team", "a"),
            ("AWS:team", "a"),
            ("semi;colon", "a"),
            (&*"k".repeat(129), "a"),
            ("team", "semi;colon"),
            ("team", "line\nbreak"),
            ("team", &*"v".repeat(257)),
        ] {
            let refused = check_tags(&[tag(key, value)]).unwrap_err();
            assert!(matches!(refused, PlanError::Limit { .. }), "{key} {value}");
        }
        let twice = check_tags(&[tag("Team", "a"), tag("team", "b")]).unwrap_err();
        assert_eq!(twice, PlanError::DuplicateTag("team".into()));
    }

    #[test]
    fn external_ids_policies_and_durations_have_their_limits() {
        assert_eq!(check_external_id("us-west-2/111122223333/prod/shop/cart"), Ok(()));
        for id in ["", "a", "a b", "ä1", &*"x".repeat(1225)] {
            assert!(check_external_id(id).is_err(), "{id}");
        }
        assert_eq!(check_policy(r#"{"Version":"2012-10-17","Statement":[]}"#), Ok(()));
        let long = format!(r#"{{"Version":"{}"}}"#, "1".repeat(2048));
        for policy in ["", "[]", "{", r#"{"a":"→"}"#, &long] {
            assert!(check_policy(policy).is_err(), "{policy}");
        }
        assert_eq!(check_duration(Duration::from_mins(15)), Ok(()));
        assert!(check_duration(Duration::from_secs(899)).is_err());
        assert!(check_duration(Duration::from_secs(43_201)).is_err());
    }
}
