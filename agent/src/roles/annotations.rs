//! The annotations that kube2iam and kiam made common, under a prefix that clusters may change.

use super::arn::{ArnError, BaseRoleArn, RoleArn};
use super::facts::IMDS_V1_ANNOTATION;

/// The shortest and longest external id, in characters (AWS STS API Reference, "AssumeRole").
const EXTERNAL_ID: std::ops::RangeInclusive<usize> = 2..=1224;

/// On a ServiceAccount: the role of its pods (IAM roles for service accounts).
pub const SERVICE_ACCOUNT_ROLE: &str = "eks.amazonaws.com/role-arn";
/// On a ServiceAccount: who its pods' tokens are for, if not AWS STS.
pub const SERVICE_ACCOUNT_AUDIENCE: &str = "eks.amazonaws.com/audience";

/// The names of the annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// On a pod: the role that it asks for; a name, a path and name, or an ARN.
    pub role: Box<str>,
    /// On a pod: the external id that the role's trust policy demands.
    pub external_id: Box<str>,
    /// On a pod: what its session is to be called.
    pub session_name: Box<str>,
    /// On a Namespace: kiam's regular expression.
    pub permitted: Box<str>,
    /// On a Namespace: kube2iam's list of globs.
    pub allowed_roles: Box<str>,
}

impl Keys {
    /// The names under `prefix`: `iam.amazonaws.com` unless the cluster changed it.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}/{name}").into();
        Self {
            role: key("role"),
            external_id: key("external-id"),
            session_name: key("session-name"),
            permitted: key("permitted"),
            allowed_roles: key("allowed-roles"),
        }
    }

    /// Those that are read of pods.
    pub fn of_pods(&self) -> impl Iterator<Item = &str> {
        let Self { role, external_id, session_name, permitted: _, allowed_roles: _ } = self;
        [&**role, external_id, session_name, IMDS_V1_ANNOTATION].into_iter()
    }

    /// Those that are read of Namespaces.
    pub fn of_namespaces(&self) -> impl Iterator<Item = &str> {
        [&*self.permitted, &self.allowed_roles, IMDS_V1_ANNOTATION].into_iter()
    }
}

/// Why an annotation's value names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// The annotation is there and empty.
    #[error("it is empty; remove the annotation, or name a role")]
    Empty,
    /// A name without the rest of an ARN, and nothing to complete it with.
    #[error("it is a bare role name, and the agent has no --base-role-arn; write the whole ARN")]
    NoBase,
    /// The ARN, as written or as completed, is none.
    #[error("it is no role: {0}")]
    Arn(ArnError),
}

/// The role that an annotation's value names.
///
/// # Errors
/// What is wrong with the value.
pub fn role(value: &str, base: Option<&BaseRoleArn>) -> Result<RoleArn, RoleError> {
    if value.is_empty() {
        return Err(RoleError::Empty);
    }
    if value.starts_with("arn:") {
        return value.parse().map_err(RoleError::Arn);
    }
    let base = base.ok_or(RoleError::NoBase)?;
    // kiam also took a path with its leading slash.
    base.role(value.strip_prefix('/').unwrap_or(value)).map_err(RoleError::Arn)
}

/// Why an external id is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an external id is 2 to 1224 of letters, digits and _+=,.@:/-")]
pub struct ExternalIdError;

/// Checks what STS checks, so that the refusal comes before the call and says where it is from.
///
/// # Errors
/// Where STS would refuse it.
pub fn check_external_id(id: &str) -> Result<(), ExternalIdError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if EXTERNAL_ID.contains(&id.len()) && id.chars().all(allowed) {
        Ok(())
    } else {
        Err(ExternalIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> BaseRoleArn {
        "arn:aws:iam::123456789012:role/".parse().unwrap()
    }

    #[test]
    fn names_paths_and_arns_name_roles() {
        for (value, arn) in [
            ("web", "arn:aws:iam::123456789012:role/web"),
            ("team/web", "arn:aws:iam::123456789012:role/team/web"),
            ("/team/web", "arn:aws:iam::123456789012:role/team/web"),
            ("arn:aws:iam::999999999999:role/x", "arn:aws:iam::999999999999:role/x"),
        ] {
            assert_eq!(role(value, Some(&base())).unwrap().as_str(), arn, "{value:?}");
        }
    }

    #[test]
    fn what_is_no_role_is_refused_with_its_reason() {
        assert_eq!(role("", Some(&base())), Err(RoleError::Empty));
        assert_eq!(role("web", None), Err(RoleError::NoBase));
        assert_eq!(role("we b", Some(&base())), Err(RoleError::Arn(ArnError::Name)));
        assert_eq!(role("//web", Some(&base())), Err(RoleError::Arn(ArnError::Path)));
        assert_eq!(role("arn:aws:iam::1:role/x", None), Err(RoleError::Arn(ArnError::Account)));
    }

    #[test]
    fn external_ids_are_what_sts_takes() {
        for id in ["ab", "a/b:c=d,e.f@g-h_i+j", &"x".repeat(1224)] {
            assert_eq!(check_external_id(id), Ok(()), "{id:?}");
        }
        for id in ["", "a", "a b", "a\n", "é1", &"x".repeat(1225)] {
            assert_eq!(check_external_id(id), Err(ExternalIdError), "{id:?}");
        }
    }
}
