//! The flags that say how pods are told apart.

use clap::Args;

use super::Checker;

/// The flags that say how pods are told apart, as they are written.
#[derive(Clone, Debug, Args)]
pub struct CallerArguments {}

/// How pods are told apart.
#[derive(Clone, Debug)]
pub struct CallerSettings {}

pub(super) fn check(CallerArguments {}: CallerArguments, _check: &mut Checker) -> CallerSettings {
    CallerSettings {}
}
