//! libFuzzer around podrole's fuzz targets. The environment names the one that runs: one program for all
//! of them is linked once.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use podrole::fuzzing::{TARGETS, Target};

const VARIABLE: &str = "PODROLE_FUZZ_TARGET";

#[expect(clippy::panic, reason = "there is nothing to run; libFuzzer shows the message and ends")]
static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var(VARIABLE).unwrap_or_default();
    let named = TARGETS.into_iter().find(|target| target.name == name);
    named.unwrap_or_else(|| panic!("{VARIABLE} is {name:?}, which is no target"))
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
