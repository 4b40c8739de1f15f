//! What a process uses (proc(5)).

use std::fs;

use anyhow::{Context as _, Result};

/// Processor time of all of its threads so far, in seconds.
pub(super) fn processor_seconds(process: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end between two looks.
        let said = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let on_processor = said.split(' ').next().filter(|field| !field.is_empty());
        nanoseconds += on_processor.map_or(Ok(0.0), str::parse::<f64>)?;
    }
    Ok(nanoseconds / 1e9)
}

/// What of it is in memory, in KiB.
pub(super) fn resident_kib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let own = std::process::id();
        assert!(processor_seconds(own).unwrap() > 0.0);
        assert!(resident_kib(own).unwrap() > 100.0);
    }
}
