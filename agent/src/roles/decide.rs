//! The decision: rules in order, the first that applies wins. A rule that applies and is refused,
//! malformed or not yet known ends the search; only absence goes on.

use std::sync::Arc;

use crate::callers::pods::Pod;

use super::annotations::Keys;
use super::arn::BaseRoleArn;
use super::default_role::DefaultRole;
use super::facts::{Cause, Facts, METADATA_LABEL, Missing, Subject};
use super::grant::{Rule, SourceName};
use super::mode::MODE_LABEL;
use super::restrictions::Restrictions;
use super::rules;
use super::trace::{Absence, Decision, Step, Trace, Verdict};

/// How roles are decided: the same for every pod of the node.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The names of the annotations.
    pub keys: Keys,
    /// What bare role names are completed with.
    pub base: Base,
    /// Which sources may be used; the rules of others do not exist.
    pub sources: Vec<SourceName>,
    /// Which roles a pod's annotation may name.
    pub restrictions: Restrictions,
    /// For pods that nothing maps.
    pub default_role: Option<DefaultRole>,
    /// Labels that become session tags.
    pub tags: LabelTags,
    /// Whether a pod's token may be asked for by podrole itself (`--service-account-tokens=request`),
    /// so that pods without one of their own are looked at too.
    pub requests_tokens: bool,
}

/// What bare role names are completed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: roles are written as ARNs.
    None,
    /// This.
    Given(BaseRoleArn),
    /// The account and partition of the agent's own identity (`auto`), once they are known.
    Own,
}

/// Labels that become session tags: each with the tag's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelTags {
    /// Of the pod.
    pub pod: Vec<(Arc<str>, Arc<str>)>,
    /// Of its Namespace.
    pub namespace: Vec<(Arc<str>, Arc<str>)>,
}

impl Rules {
    /// Decides for one pod.
    #[must_use]
    pub fn decide(&self, pod: &Pod, facts: &Facts) -> Decision {
        let decision = |rule| self.ask(rule, pod, facts).decision();
        Rule::ALL.into_iter().find_map(decision).unwrap_or(Decision::None)
    }

    /// Decides for one pod, and says what each rule said.
    #[must_use]
    pub fn trace(&self, pod: &Pod, facts: &Facts) -> Trace {
        let mut decision = None;
        let steps = Rule::ALL.map(|rule| {
            if decision.is_some() {
                return Step { rule, verdict: Verdict::NotAsked };
            }
            let verdict = self.ask(rule, pod, facts);
            decision = verdict.clone().decision();
            Step { rule, verdict }
        });
        Trace { steps: steps.into(), decision: decision.unwrap_or(Decision::None) }
    }

    fn ask(&self, rule: Rule, pod: &Pod, facts: &Facts) -> Verdict {
        let source = rule.source();
        if !self.sources.contains(&source) {
            return Verdict::Absent(Absence::NoSource(source));
        }
        // What the node gives to whatever shares its network must be said of that very workload.
        if pod.host_network && !matches!(rule, Rule::RoleAssociation | Rule::PodAnnotation) {
            return Verdict::Absent(Absence::HostNetwork);
        }
        let verdict = match rule {
            Rule::RoleAssociation => rules::role_association(self, pod, facts),
            Rule::PodAnnotation => rules::pod_annotation(self, pod, facts),
            Rule::PodIdentity => Ok(rules::pod_identity(pod)),
            Rule::ServiceAccountAnnotation => rules::service_account_annotation(self, pod, facts),
            Rule::DefaultRole => rules::default_role(self, pod, facts),
        };
        verdict.unwrap_or_else(Verdict::NotYet)
    }

    /// The labels of pods that are read.
    pub fn labels_of_pods(&self) -> impl Iterator<Item = &str> {
        self.tags.pod.iter().map(|(label, _)| &**label)
    }

    /// The labels of Namespaces that are read.
    pub fn labels_of_namespaces(&self) -> impl Iterator<Item = &str> {
        self.tags.namespace.iter().map(|(label, _)| &**label).chain([METADATA_LABEL, MODE_LABEL])
    }

    /// What bare names are completed with, if anything.
    ///
    /// # Errors
    /// Where that is not known yet.
    pub(super) fn base<'a>(&'a self, facts: &'a Facts) -> Result<Option<&'a BaseRoleArn>, Missing> {
        const UNKNOWN: Missing =
            Missing { subject: Subject::OwnIdentity, cause: Cause::Unanswered };
        match &self.base {
            Base::None => Ok(None),
            Base::Given(base) => Ok(Some(base)),
            Base::Own => facts.own_base.as_ref().map(Some).ok_or(UNKNOWN),
        }
    }
}

#[cfg(test)]
impl Rules {
    /// Bare names are of account 123456789012; namespaces need no policy.
    pub(crate) fn fixture() -> Self {
        Self {
            keys: Keys::with_prefix("iam.amazonaws.com"),
            base: Base::Given("arn:aws:iam::123456789012:role/".parse().unwrap()),
            sources: SourceName::ALL.into(),
            restrictions: Restrictions::off(),
            default_role: None,
            tags: LabelTags::default(),
            requests_tokens: false,
        }
    }
}

#[cfg(test)]
mod tests;
