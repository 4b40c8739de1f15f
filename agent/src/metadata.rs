//! What is asked: the instance metadata service as pods see it.

mod documents;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod handler;
mod host;
mod protocol;
mod response;
pub mod server;
mod token;

pub use self::handler::Handler;
pub use self::token::{KeyError, Keys};
