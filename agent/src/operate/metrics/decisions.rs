//! What the rules said of pods that asked for their role.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Labels;

/// The rule that decided, as `podrole explain --output json` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// A `RoleAssociation`.
    RoleAssociation,
    /// The pod's annotation.
    PodAnnotation,
    /// An association of EKS.
    PodIdentity,
    /// The ServiceAccount's annotation.
    ServiceAccountAnnotation,
    /// `--default-role`
    DefaultRole,
    /// None: no rule applies.
    Nothing,
}

impl DecidedBy {
    const ALL: [Self; 6] = [
        Self::RoleAssociation,
        Self::PodAnnotation,
        Self::PodIdentity,
        Self::ServiceAccountAnnotation,
        Self::DefaultRole,
        Self::Nothing,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::RoleAssociation => "role-association",
            Self::PodAnnotation => "pod-annotation",
            Self::PodIdentity => "pod-identity",
            Self::ServiceAccountAnnotation => "service-account-annotation",
            Self::DefaultRole => "default-role",
            Self::Nothing => "none",
        }
    }
}

/// What was decided, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The pod has a role.
    Granted,
    /// It is refused the role that was asked for.
    Refused,
    /// What the rule needs to know was not there in time.
    NotYet,
    /// No rule applies: it has none.
    None,
}

impl Decided {
    const ALL: [Self; 4] = [Self::Granted, Self::Refused, Self::NotYet, Self::None];

    const fn label(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::NotYet => "not-yet",
            Self::None => "none",
        }
    }
}

/// Decisions by rule and verdict. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Decisions {
    pub(super) family: Family<Labels<2>, Counter>,
    made: Arc<[[Counter; Decided::ALL.len()]; DecidedBy::ALL.len()]>,
}

impl Default for Decisions {
    fn default() -> Self {
        let family = Family::<Labels<2>, Counter>::default();
        let made = DecidedBy::ALL.map(|by| {
            Decided::ALL.map(|decided| {
                // A rule that says nothing decides nothing.
                let can_be = (by == DecidedBy::Nothing) == (decided == Decided::None);
                let series = [("rule", by.label()), ("verdict", decided.label())];
                if can_be { family.get_or_create_owned(&series) } else { Counter::default() }
            })
        });
        Self { family, made: Arc::new(made) }
    }
}

impl Decisions {
    /// Counts one.
    pub fn count(&self, by: DecidedBy, decided: Decided) {
        let of_rule = self.made.get(by as usize);
        of_rule.and_then(|of_rule| of_rule.get(decided as usize)).map(Counter::inc);
    }
}
