//! The decision: rules in order, the first that applies wins. A rule that applies and is refused or
//! malformed ends the search; only absence goes on.

use crate::callers::pods::Pod;

use super::annotations::{self, Keys, RoleError};
use super::arn::BaseRoleArn;
use super::grant::{AssumeRole, Grant, Rule, Way};

/// How much of an annotation a refusal shows, in characters: one may have 256 KiB.
const SHOWN: usize = 128;

/// What the rules need to know beside the pod.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The names of the annotations.
    pub keys: Keys,
    /// What bare role names are completed with.
    pub base: Option<BaseRoleArn>,
}

/// What the rules say of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It has a role.
    Granted(Grant),
    /// No rule applies: it has none.
    None,
    /// A rule applies and gives it none.
    Refused(Refusal),
    /// What a rule needs to know is not there yet; this says what.
    NotYet(&'static str),
}

/// Why a pod that a role was asked for has none. Its text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {key}={value:?} of the pod is refused: {reason}")]
pub struct Refusal {
    /// The annotation.
    pub key: Box<str>,
    /// Its value, or the beginning of a long one.
    pub value: Box<str>,
    /// What is wrong with it.
    pub reason: RoleError,
}

impl Rules {
    /// Decides for one pod.
    #[must_use]
    pub fn decide(&self, pod: &Pod) -> Decision {
        let Some(value) = pod.annotations.get(&self.keys.role) else {
            return Decision::None;
        };
        match annotations::role(value, self.base.as_ref()) {
            Ok(role) => Decision::Granted(Grant {
                rule: Rule::PodAnnotation,
                way: Way::AssumeRole(Box::new(AssumeRole::plain(role))),
            }),
            Err(reason) => Decision::Refused(Refusal {
                key: self.keys.role.clone(),
                value: value.chars().take(SHOWN).collect(),
                reason,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            keys: Keys::with_prefix("iam.amazonaws.com"),
            base: Some("arn:aws:iam::123456789012:role/".parse().unwrap()),
        }
    }

    #[test]
    fn a_pod_without_the_annotation_has_no_role() {
        let pod = Pod::fixture("a", &[]).annotated("example.com/role", "web");
        assert_eq!(rules().decide(&pod), Decision::None);
    }

    #[test]
    fn the_annotation_gives_the_role() {
        let pod = Pod::fixture("a", &[]).annotated("iam.amazonaws.com/role", "web");
        let Decision::Granted(grant) = rules().decide(&pod) else { panic!("no role") };
        assert_eq!(grant.rule, Rule::PodAnnotation);
        assert_eq!(grant.role().unwrap().name(), "web");
    }

    #[test]
    fn a_malformed_annotation_is_a_refusal_that_names_it() {
        let pod = Pod::fixture("a", &[]).annotated("iam.amazonaws.com/role", "we b");
        let Decision::Refused(refusal) = rules().decide(&pod) else { panic!("not refused") };
        let text = refusal.to_string();
        assert!(text.contains("iam.amazonaws.com/role=\"we b\""), "{text}");
        assert!(text.contains("role name"), "{text}");
    }
}
