//! What programs cost: the kernel counts their runs and the time in them, while somebody asks for it.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{call, descriptor, open};

/// Commands of bpf(2).
const PROG_GET_FD_BY_ID: u32 = 13;
const ENABLE_STATS: u32 = 32;
/// `BPF_STATS_RUN_TIME`
const RUN_TIME: u32 = 0;

/// What a program has run so far. Both numbers go up only while somebody holds [`enable`]'s handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// How often.
    pub count: u64,
    /// For how long in all, in nanoseconds, with what the kernel's clock adds to each.
    pub nanoseconds: u64,
}

impl Runs {
    /// Since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            nanoseconds: self.nanoseconds.saturating_sub(before.nanoseconds),
        }
    }
}

/// Has the kernel count, for as long as the handle lives.
pub fn enable() -> Result<OwnedFd> {
    let mut kind = RUN_TIME;
    descriptor(call(ENABLE_STATS, &mut kind)).context("have the kernel time its BPF programs")
}

/// A program that is attached by a link.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// That of the link that is pinned.
    pub fn of_pin(path: &Path) -> Result<Self> {
        Self::of_link(&open(path)?)
    }

    /// That of a link.
    pub fn of_link(link: &OwnedFd) -> Result<Self> {
        #[repr(C)]
        struct Attr {
            id: u32,
            next: u32,
            flags: u32,
        }
        let id = u32::try_from(number(link, "prog_id:")?)?;
        let mut attr = Attr { id, next: 0, flags: 0 };
        let program = descriptor(call(PROG_GET_FD_BY_ID, &mut attr));
        Ok(Self(program.with_context(|| format!("open program {id}"))?))
    }

    /// What it has run so far (proc(5), `/proc/pid/fdinfo`).
    pub fn runs(&self) -> Result<Runs> {
        let Self(program) = self;
        Ok(Runs {
            count: number(program, "run_cnt:")?,
            nanoseconds: number(program, "run_time_ns:")?,
        })
    }
}

fn number(of: &OwnedFd, name: &str) -> Result<u64> {
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{}", of.as_raw_fd()))?;
    let value = said.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.with_context(|| format!("no {name} in {said}"))?.trim().parse()?)
}
