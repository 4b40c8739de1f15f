//! podrole on one pretend node.

pub mod pretend;
