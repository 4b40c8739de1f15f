//! The flags that say what pods may read beside their role.

use clap::Args;

use super::Checker;

/// The flags that say what pods may read beside their role, as they are written.
#[derive(Clone, Debug, Args)]
pub struct MetadataArguments {}

/// What pods may read beside their role.
#[derive(Clone, Debug)]
pub struct MetadataSettings {}

pub(super) fn check(
    MetadataArguments {}: MetadataArguments,
    _check: &mut Checker,
) -> MetadataSettings {
    MetadataSettings {}
}
