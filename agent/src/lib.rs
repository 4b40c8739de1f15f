//! podrole: every pod its own IAM role, with no change to the pod.

pub mod callers;
pub mod clock;
pub mod credentials;
pub mod kernel;
pub mod metadata;
pub mod report;
pub mod roles;
