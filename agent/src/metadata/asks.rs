//! What the pods of this node asked the real metadata service for while they were in audit: by
//! workload, so that it is still known when a pod is gone.

mod line;
mod store;

pub(crate) use self::line::Ask;
pub use self::store::{Asks, Counts, Left, Who};
