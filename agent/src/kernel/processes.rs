//! The processes of a cgroup.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

/// A process of the cgroup or below it, of those that lie the least deep: what a container starts inside
/// of itself may have a network of its own. None that this process cannot see.
#[must_use]
pub fn first_of(cgroup: &Path) -> Option<u32> {
    let mut next = VecDeque::from([cgroup.to_owned()]);
    while let Some(cgroup) = next.pop_front() {
        let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        // 0 stands for a process of another PID namespace (cgroup_namespaces(7)).
        if let Some(id) = listed.lines().filter_map(|line| line.parse().ok()).find(|id| *id != 0) {
            return Some(id);
        }
        let entries = fs::read_dir(&cgroup).into_iter().flatten().filter_map(Result::ok);
        next.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    None
}
