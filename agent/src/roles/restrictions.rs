//! Namespace policy: which roles a pod's annotation may name. kiam's and kube2iam's annotations of the
//! Namespace, and the operator's flags. Pure.

pub mod globs;
pub mod pattern;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use self::globs::{Globs, GlobsError};
use self::pattern::{Pattern, PatternError};
use super::arn::{BaseRoleArn, RoleArn};
use super::facts::{Known, Missing, Namespace};
use super::refusal::shown;

/// The longest policy that is read, in bytes: what is longer permits nothing.
pub(super) const LONGEST: usize = 64 * 1024;

/// What the flags say of roles that annotations name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restrictions {
    /// `--namespace-policy`
    pub requirement: Requirement,
    /// `--permitted-roles`: what a namespace without a policy of its own may ask for.
    pub permitted: Option<Pattern>,
    /// The names of the Namespace's annotations, for what is said of them.
    pub permitted_key: Arc<str>,
    /// kube2iam's.
    pub allowed_roles_key: Arc<str>,
}

/// Whether a namespace must have a policy for its pods to name roles (`--namespace-policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Without one, only what `--permitted-roles` permits.
    Required,
    /// Without one, whatever the node may assume, or what `--permitted-roles` permits.
    IfPresent,
    /// Nobody is asked.
    Off,
}

/// What a Namespace's annotations say. A malformed one permits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespacePolicy {
    /// `iam.amazonaws.com/permitted`, as kiam reads it.
    pub permitted: Option<Result<Pattern, PatternError>>,
    /// `iam.amazonaws.com/allowed-roles`, as kube2iam reads it.
    pub allowed: Option<Result<Globs, GlobsError>>,
}

/// What permits a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// `--namespace-policy=off`
    Unasked,
    /// The Namespace has no policy, and needs none.
    NoPolicy,
    /// `--permitted-roles`
    PermittedRoles,
    /// The Namespace's annotation, or both of them.
    Namespace,
    /// It is the role that every pod may have.
    DefaultRole,
}

/// Why a role is not permitted, with what would permit it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Nothing permits anything in this namespace.
    #[error(
        "the Namespace has no policy; annotate it with {permitted}=REGULAR-EXPRESSION, which must match the whole ARN {role}, or start the agent with --permitted-roles"
    )]
    NoPolicy {
        /// The annotation that is missing.
        permitted: Arc<str>,
        /// What was asked for.
        role: RoleArn,
    },
    /// The Namespace has no policy, and the flag does not match.
    #[error("the Namespace has no policy, and --permitted-roles={pattern} does not match {role}")]
    NotPermittedRoles {
        /// The flag.
        pattern: Box<str>,
        /// What was asked for.
        role: RoleArn,
    },
    /// kiam's annotation does not match.
    #[error("the Namespace's annotation {key}={value:?} does not match the whole of {role}")]
    NotMatched {
        /// The annotation.
        key: Arc<str>,
        /// Its beginning.
        value: Box<str>,
        /// What was asked for.
        role: RoleArn,
    },
    /// None of kube2iam's globs matches.
    #[error("no entry of the Namespace's annotation {key} matches {role}{}", hint.as_deref().unwrap_or_default())]
    NotAllowed {
        /// The annotation.
        key: Arc<str>,
        /// What was asked for.
        role: RoleArn,
        /// What may have been meant.
        hint: Option<Box<str>>,
    },
    /// kiam's annotation is no regular expression.
    #[error("the Namespace's annotation {key} permits nothing: {error}")]
    Pattern {
        /// The annotation.
        key: Arc<str>,
        /// What is wrong.
        error: PatternError,
    },
    /// kube2iam's annotation is no list of globs.
    #[error("the Namespace's annotation {key} permits nothing: {error}")]
    Globs {
        /// The annotation.
        key: Arc<str>,
        /// What is wrong.
        error: GlobsError,
    },
}

/// What a policy says.
pub type Outcome = Result<Permit, Denial>;

impl Restrictions {
    /// Whether `role` may be asked for in the namespace.
    ///
    /// # Errors
    /// Where the Namespace is not known, and would have to be.
    pub(super) fn judge(
        &self,
        role: &RoleArn,
        namespace: &Known<Arc<Namespace>>,
        base: Result<Option<&BaseRoleArn>, Missing>,
    ) -> Result<Outcome, Missing> {
        if self.requirement == Requirement::Off {
            return Ok(Ok(Permit::Unasked));
        }
        Ok(match namespace {
            Known::NotYet(missing) => return Err(*missing),
            Known::There(namespace) if !namespace.policy.is_empty() => {
                let NamespacePolicy { permitted, allowed } = &namespace.policy;
                // Only names in globs are completed.
                let base = if allowed.is_some() { base? } else { None };
                self.judge_by_own(role, permitted.as_ref(), allowed.as_ref(), base)
            }
            Known::There(_) | Known::Absent => self.judge_by_flags(role),
        })
    }

    /// With both annotations, each must permit.
    fn judge_by_own(
        &self,
        role: &RoleArn,
        permitted: Option<&Result<Pattern, PatternError>>,
        allowed: Option<&Result<Globs, GlobsError>>,
        base: Option<&BaseRoleArn>,
    ) -> Outcome {
        if let Some(permitted) = permitted {
            judge_by_pattern(role, permitted, &self.permitted_key)?;
        }
        if let Some(allowed) = allowed {
            judge_by_globs(role, allowed, &self.allowed_roles_key, base)?;
        }
        Ok(Permit::Namespace)
    }

    fn judge_by_flags(&self, role: &RoleArn) -> Outcome {
        match (&self.permitted, self.requirement) {
            (Some(pattern), _) if pattern.matches(role) => Ok(Permit::PermittedRoles),
            (Some(pattern), _) => {
                let pattern = pattern.as_str().into();
                Err(Denial::NotPermittedRoles { pattern, role: role.clone() })
            }
            (None, Requirement::Required) => {
                let permitted = Arc::clone(&self.permitted_key);
                Err(Denial::NoPolicy { permitted, role: role.clone() })
            }
            (None, Requirement::IfPresent | Requirement::Off) => Ok(Permit::NoPolicy),
        }
    }
}

fn judge_by_pattern(
    role: &RoleArn,
    permitted: &Result<Pattern, PatternError>,
    key: &Arc<str>,
) -> Result<(), Denial> {
    let key = Arc::clone(key);
    match permitted {
        Ok(pattern) if pattern.matches(role) => Ok(()),
        Ok(pattern) => {
            Err(Denial::NotMatched { key, value: shown(pattern.as_str()), role: role.clone() })
        }
        Err(error) => Err(Denial::Pattern { key, error: error.clone() }),
    }
}

fn judge_by_globs(
    role: &RoleArn,
    allowed: &Result<Globs, GlobsError>,
    key: &Arc<str>,
    base: Option<&BaseRoleArn>,
) -> Result<(), Denial> {
    let key = Arc::clone(key);
    match allowed {
        Ok(globs) if globs.match_role(role, base) => Ok(()),
        Ok(globs) => Err(Denial::NotAllowed { key, role: role.clone(), hint: globs.hint(base) }),
        Err(error) => Err(Denial::Globs { key, error: error.clone() }),
    }
}

impl NamespacePolicy {
    /// What the two annotations say.
    #[must_use]
    pub fn read(permitted: Option<&str>, allowed_roles: Option<&str>) -> Self {
        Self {
            permitted: permitted.map(Pattern::new),
            allowed: allowed_roles.map(Globs::from_json),
        }
    }

    /// Whether the Namespace has no policy at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.permitted.is_none() && self.allowed.is_none()
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unasked => "--namespace-policy=off: every role is permitted",
            Self::NoPolicy => "the Namespace has no policy and needs none",
            Self::PermittedRoles => "the Namespace has no policy; permitted by --permitted-roles",
            Self::Namespace => "permitted by the Namespace's policy",
            Self::DefaultRole => "permitted: it is the --default-role",
        })
    }
}

impl Serialize for Permit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
impl Restrictions {
    /// Nobody is asked.
    pub(crate) fn off() -> Self {
        Self {
            requirement: Requirement::Off,
            permitted: None,
            permitted_key: "iam.amazonaws.com/permitted".into(),
            allowed_roles_key: "iam.amazonaws.com/allowed-roles".into(),
        }
    }
}
