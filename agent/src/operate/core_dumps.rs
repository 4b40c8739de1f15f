//! No core dumps: the agent's memory has the credentials of every pod on the node.

use std::io;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// From now on the kernel writes no core of this process, whatever the limits and `core_pattern` say,
/// and only those with `CAP_SYS_PTRACE` may look into it (prctl(2), `PR_SET_DUMPABLE`).
///
/// # Errors
/// What the kernel says.
pub fn forbid() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn the_kernel_is_told() {
        forbid().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
