//! The agent; it does nothing yet.

fn main() {}
