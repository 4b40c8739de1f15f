//! What is asked: the instance metadata service as pods see it.

pub mod asks;
mod documents;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod handler;
mod host;
mod limits;
mod node;
mod paths;
mod protocol;
mod response;
pub mod server;
mod stricter;
mod token;
mod upstream;

pub use self::handler::{Connection, Handler, WorkedOut};
pub use self::limits::Limits;
pub use self::node::{NodeMetadata, NodeSource};
pub use self::paths::AllowList;
pub use self::stricter::ImdsV1;
pub use self::token::{KeyError, Keyring};
pub use self::upstream::{Client, Endpoint, Upstream};
