//! podrole: every pod its own IAM role, with no change to the pod.
//!
//! A request passes the rooms in this order: [`metadata`] parses it, [`callers`] says which pod asks,
//! [`roles`] which role that pod may have, [`credentials`] hands out a session. [`kernel`] brings the
//! connection here in the first place; [`operate`] keeps the process alive and observable; [`app`]
//! puts them together. Rooms import downward only.

pub mod app;
pub mod callers;
pub mod clock;
pub mod credentials;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod kernel;
pub mod metadata;
pub mod operate;
pub mod report;
pub mod roles;
pub mod settings;
