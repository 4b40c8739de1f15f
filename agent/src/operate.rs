//! Being run: health, readiness, logging, signals, and the tasks that make up the process.

pub mod admin;
pub mod audit;
pub mod control;
pub mod core_dumps;
pub mod duty;
pub mod events;
pub mod metrics;
pub mod node_object;
pub mod privileges;
pub mod readiness;
pub mod shutdown;
pub mod state_file;
pub mod supervisor;
pub mod telemetry;
pub mod watchdog;
