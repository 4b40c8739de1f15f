//! `RoleAssociation`: a cluster operator's word on which role a ServiceAccount's pods have.

pub mod definition;
pub mod index;

use super::annotations::ExternalIdError;
use super::arn::ArnError;
use super::grant::AssumeRole;

pub use self::definition::{RoleAssociation, RoleAssociationSpec};

/// An association as it is decided by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// Its `metadata.name`.
    pub name: Box<str>,
    /// Whether it only tells what it would give (`mode: Audit`).
    pub audit: bool,
    /// What it gives, or what is wrong with it: an API server that does not know CEL takes anything.
    pub call: Result<AssumeRole, AssociationError>,
}

/// What is wrong with an association.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssociationError {
    /// A field is missing, unknown to this version, or of another type.
    #[error("its spec cannot be read: {0}")]
    Spec(Box<str>),
    /// `roleArn` or `targetRoleArn` is none.
    #[error("its {field} is no role: {error}")]
    Role {
        /// Which of the two.
        field: &'static str,
        /// What is wrong.
        error: ArnError,
    },
    /// The two roles are of different partitions.
    #[error(
        "its roleArn is of partition {role} and its targetRoleArn of {target}; a session of one partition cannot assume a role of another"
    )]
    Partitions {
        /// Of `roleArn`.
        role: Box<str>,
        /// Of `targetRoleArn`.
        target: Box<str>,
    },
    /// `externalId` is one that STS refuses.
    #[error("its externalId is refused: {0}")]
    ExternalId(ExternalIdError),
    /// A session tag is one that STS refuses.
    #[error("its session tag {key:?} is refused: {error}")]
    Tag {
        /// The tag's key.
        key: Box<str>,
        /// What is wrong.
        error: super::tags::TagError,
    },
    /// More tags than STS takes.
    #[error("it has {0} session tags; at most {max} fit beside the six of the pod", max = definition::TAGS_MAX)]
    TooManyTags(usize),
    /// Tags where none are to be sent.
    #[error("it has sessionTags and disableSessionTags; remove one of them")]
    TagsDisabled,
    /// `durationSeconds` is out of range.
    #[error("its durationSeconds is {0}; from 900 to 43200, and to 3600 with a targetRoleArn")]
    Duration(i64),
    /// `policy` is no JSON object, or longer than STS takes.
    #[error("its policy is no JSON object of at most 2048 characters")]
    Policy,
}
