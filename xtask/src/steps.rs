//! Steps with a headline and their time.

use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "times of a build for a person to read")]
use std::time::Instant;

use anyhow::{Context as _, Result};

/// The steps of one command, counted and timed.
#[expect(clippy::disallowed_types, reason = "times of a build for a person to read")]
pub(crate) struct Steps {
    began: Instant,
    done: usize,
}

impl Steps {
    #[expect(clippy::disallowed_types, reason = "times of a build for a person to read")]
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), done: 0 }
    }

    /// Runs one step under its headline; an error is put under the step's name.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("==> {name}");
        let before = self.began.elapsed();
        let result = work().with_context(|| format!("failed at \"{name}\""));
        let time = seconds(self.began.elapsed().saturating_sub(before));
        match &result {
            Ok(_) => println!("    {name}: {time}"),
            Err(_) => println!("    {name}: FAILED after {time}"),
        }
        self.done += 1;
        result
    }

    /// "12 steps in 34.5 s".
    pub(crate) fn summary(&self) -> String {
        format!("{} steps in {}", self.done, seconds(self.began.elapsed()))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
