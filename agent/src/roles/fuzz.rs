//! What the fuzzers try in this room: what people write in annotations names the role that it spells, or
//! none.

use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::annotations;
use super::arn::{BaseRoleArn, RoleArn};
use super::associations::Association;
use super::restrictions::globs::Globs;
use super::restrictions::pattern::Pattern;
use super::tags::RESERVED;

const BASE: &str = "arn:aws:iam::123456789012:role/base/";

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// An ARN.
pub(crate) fn arn(input: &[u8]) {
    let Some(text) = text(input) else { return };
    let Ok(arn) = text.parse::<RoleArn>() else { return };
    assert_eq!(arn.as_str(), text);
    assert_parts(&arn);
}

/// The parts make up the whole, and none holds what stands between parts.
fn assert_parts(arn: &RoleArn) {
    let (partition, account, resource) = (arn.partition(), arn.account(), arn.path_and_name());
    assert_eq!(arn.as_str(), format!("arn:{partition}:iam::{account}:role/{resource}"));
    assert_eq!(resource.rsplit('/').next(), Some(arn.name()));
    assert!(arn.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(!partition.contains(':') && !arn.name().is_empty());
}

/// The annotation with a pod's role: a bare name never leaves the base.
pub(crate) fn role_annotation(input: &[u8]) {
    let (Some(value), Ok(base)) = (text(input), BASE.parse::<BaseRoleArn>()) else { return };
    if let Ok(arn) = annotations::role(value, Some(&base)) {
        assert_parts(&arn);
        let spelled = if value.starts_with("arn:") { "" } else { BASE };
        let value = value.strip_prefix('/').unwrap_or(value);
        assert_eq!(arn.as_str(), format!("{spelled}{value}"));
    }
    if let Ok(arn) = annotations::role(value, None) {
        assert_eq!(arn.as_str(), value);
    }
}

/// Two lines: what a namespace permits, and a role.
fn policy_and_role(input: &[u8]) -> Option<(&str, RoleArn)> {
    let (policy, role) = text(input)?.split_once('\n')?;
    Some((policy, role.parse().ok()?))
}

/// kiam's regular expression: it never matches a part of an ARN.
pub(crate) fn permitted(input: &[u8]) {
    let Some((policy, role)) = policy_and_role(input) else { return };
    let Ok(pattern) = Pattern::new(policy) else { return };
    if let Ok(whole) = Regex::new(&format!(r"\A(?:{policy})\z")) {
        assert_eq!(pattern.matches(&role), whole.is_match(role.as_str()), "{policy:?} on {role}");
    }
}

/// kube2iam's globs, against a slower way to match them.
pub(crate) fn allowed_roles(input: &[u8]) {
    let Some((policy, role)) = policy_and_role(input).filter(|_| input.len() < 512) else { return };
    let Ok(globs) = Globs::from_json(policy) else { return };
    let entries: Vec<String> = serde_json::from_str(policy).unwrap_or_default();
    let matched = globs.match_role(&role, None);
    let expected = entries.iter().any(|entry| glob_matches(entry, role.as_str()));
    assert_eq!(matched, expected, "{policy:?} on {role}");
    let Ok(base) = BASE.parse::<BaseRoleArn>() else { return };
    if globs.match_role(&role, Some(&base)) && !matched {
        assert!(role.as_str().starts_with(BASE), "{policy:?} reaches {role}");
    }
}

/// Place by place: `reached[n]` says whether the glob so far can stand for the first `n` bytes.
fn glob_matches(glob: &str, text: &str) -> bool {
    let mut reached = vec![true];
    reached.resize(text.len() + 1, false);
    for byte in glob.bytes() {
        let mut next = Vec::with_capacity(reached.len());
        if byte == b'*' {
            let mut any = false;
            next.extend(reached.iter().map(|reached| {
                any |= reached;
                any
            }));
        } else {
            let steps =
                reached.iter().zip(text.bytes()).map(|(reached, at)| *reached && at == byte);
            next.push(false);
            next.extend(steps);
        }
        reached = next;
    }
    reached.last().is_some_and(|reached| *reached)
}

/// The spec of an association, as an API server without validation hands it over.
pub(crate) fn association(input: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Value>(input) else { return };
    let Ok(call) = Association::read("fuzzed", &spec).call else { return };
    assert_parts(&call.role);
    if let Some(target) = &call.target {
        assert_parts(target);
        assert_eq!(target.partition(), call.role.partition());
    }
    let longest = Duration::from_hours(if call.target.is_some() { 1 } else { 12 });
    let range = Duration::from_mins(15)..=longest;
    assert!(call.duration.is_none_or(|duration| range.contains(&duration)), "{:?}", call.duration);
    assert!(call.tags.is_empty() || (!call.untagged && call.tags.len() <= 44));
    for (key, _) in &call.tags {
        let key = key.to_lowercase();
        assert!(!RESERVED.contains(&key.as_str()) && !key.starts_with("aws:"), "{key:?}");
    }
}
