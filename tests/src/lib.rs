//! podrole on one pretend node.
