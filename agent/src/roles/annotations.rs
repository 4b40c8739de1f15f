//! The annotations that kube2iam and kiam made common, under a prefix that clusters may change.

use super::arn::{ArnError, BaseRoleArn, RoleArn};

/// The names of the annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// On a pod: the role that it asks for; a name, a path and name, or an ARN.
    pub role: Box<str>,
}

impl Keys {
    /// The names under `prefix`: `iam.amazonaws.com` unless the cluster changed it.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self { role: format!("{prefix}/role").into() }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let Self { role } = self;
        [&**role].into_iter()
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
}
