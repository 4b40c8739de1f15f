//! Ways around a redirect: what a process can do with sockets to reach the metadata service, told as
//! data, so that a test can be a table.
//!
//! The binary `podrole-vectors` carries an [`attack::Attack`] out, inside a pod's namespaces and
//! cgroup, and prints a [`attack::Report`]. What arrived at the metadata service is counted by
//! [`crate::sniffer`], on the other side of the wire.

pub mod attack;
pub mod fence;
pub mod hand_over;
pub mod held;
pub mod packet;
pub mod sidecar;

mod carry_out;
mod ring;
mod socket;

pub use carry_out::carry_out;
pub(crate) use socket::set_option;
