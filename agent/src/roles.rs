//! Which role a pod may have, and what says so.

pub mod annotations;
pub mod arn;
pub mod decide;

pub use self::arn::{BaseRoleArn, RoleArn};
pub use self::decide::{Decision, Refusal, Rules};
