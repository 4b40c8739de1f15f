//! The pretend servers themselves, asked by real clients where there are any. Needs no root.

mod kubernetes;
mod metadata;
mod server;
mod sts;
