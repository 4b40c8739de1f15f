//! The limits of AssumeRole's parameters (AWS STS API Reference, "AssumeRole"; IAM User Guide, "IAM and
//! AWS STS quotas"). Those of single tags are `roles::tags`'s; the packed size only STS can measure.

use std::time::Duration;

use super::PlanError;

const TAGS_MAX: usize = 50;
const EXTERNAL_ID: std::ops::RangeInclusive<usize> = 2..=1224;
const POLICY_MAX: usize = 2048;
const DURATION: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(15)..=Duration::from_hours(12);

pub(super) fn check_number(tags: usize) -> Result<(), PlanError> {
    if tags <= TAGS_MAX {
        return Ok(());
    }
    Err(PlanError::Limit { what: format!("{tags} session tags").into(), why: "STS takes 50" })
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

    #[test]
    fn tags_are_counted() {
        assert_eq!(check_number(50), Ok(()));
        assert!(check_number(51).is_err());
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
