//! The broker on tokio's paused clock, to the millisecond.

mod ahead;
mod bench;
mod clocks;
mod failure;
mod figures;
mod flight;
mod handed;
mod model;
mod refresh;
