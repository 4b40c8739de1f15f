//! What the fuzzers try in this room: what people write in annotations names the role that it spells, or
//! none.

use super::annotations;
use super::arn::{BaseRoleArn, RoleArn};

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
