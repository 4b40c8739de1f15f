//! Why a rule that applies gives no role. Texts are for the operator, and say what would mend it.

use serde::{Serialize, Serializer};

use super::annotations::{ExternalIdError, RoleError};
use super::arn::RoleArn;
use super::associations::AssociationError;
use super::grant::Rule;
use super::restrictions::Denial;

/// How much of a value a refusal shows, in characters: an annotation may have 256 KiB.
const SHOWN: usize = 128;

/// Why a pod that a role was asked for has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{asked} is refused: {reason}")]
pub struct Refusal {
    /// The rule that applies.
    pub rule: Rule,
    /// What was asked, and where.
    pub asked: Box<str>,
    /// The role that was asked for, where it could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleArn>,
    /// What is wrong with it, and what would mend it.
    pub reason: Reason,
}

/// What is wrong with what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It names no role.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The external id is one that STS refuses.
    #[error(transparent)]
    ExternalId(#[from] ExternalIdError),
    /// The namespace policy does not permit it.
    #[error(transparent)]
    Policy(#[from] Denial),
    /// The association is not valid.
    #[error(transparent)]
    Association(#[from] AssociationError),
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value as a refusal shows it: its beginning, if it is long.
pub(super) fn shown(value: &str) -> Box<str> {
    value.chars().take(SHOWN).collect()
}
