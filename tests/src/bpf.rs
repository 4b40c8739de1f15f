//! Programs, links and maps of other tools, made by bpf(2) alone: what podrole must live beside.
//!
//! Layouts and numbers are those of the kernel's `include/uapi/linux/bpf.h`.

pub mod stats;

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::netns;
use crate::place::Place;

/// Commands of bpf(2).
const MAP_CREATE: u32 = 0;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_GET_NEXT_KEY: u32 = 4;
const PROG_LOAD: u32 = 5;
const OBJ_PIN: u32 = 6;
const OBJ_GET: u32 = 7;
const LINK_CREATE: u32 = 28;

/// `BPF_MAP_TYPE_ARRAY`
const ARRAY: u32 = 2;

/// Before all others on the same hook: `BPF_F_BEFORE` with nothing to stand before.
pub const BEFORE: u32 = 1 << 3;
/// Before those of child cgroups too: `BPF_F_PREORDER`.
pub const PREORDER: u32 = 1 << 6;

/// A hook: the type of its programs and of their attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    program: u32,
    attach: u32,
}

impl Hook {
    /// `BPF_CGROUP_INET4_CONNECT`
    pub const CONNECT4: Self = Self { program: 18, attach: 10 };
    /// `BPF_CGROUP_INET6_CONNECT`
    pub const CONNECT6: Self = Self { program: 18, attach: 11 };
    /// `BPF_CGROUP_INET4_BIND`
    pub const BIND4: Self = Self { program: 18, attach: 8 };
    /// `BPF_CGROUP_INET6_BIND`
    pub const BIND6: Self = Self { program: 18, attach: 9 };
    /// `BPF_CGROUP_UDP4_SENDMSG`
    pub const SENDMSG4: Self = Self { program: 18, attach: 14 };
    /// `BPF_CGROUP_UDP6_SENDMSG`
    pub const SENDMSG6: Self = Self { program: 18, attach: 15 };
    /// `BPF_CGROUP_INET4_GETPEERNAME`
    pub const GETPEERNAME4: Self = Self { program: 18, attach: 29 };
    /// `BPF_CGROUP_INET6_GETPEERNAME`
    pub const GETPEERNAME6: Self = Self { program: 18, attach: 30 };
    /// `BPF_CGROUP_INET_EGRESS`
    pub const EGRESS: Self = Self { program: 8, attach: 1 };
    /// `BPF_TCX_EGRESS`
    pub const TCX_EGRESS: Self = Self { program: 3, attach: 47 };
}

/// What a program does.
#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// `r0 = value; exit`
    Return(i32),
    /// `bpf_set_retval(0); r0 = 1; exit`: takes back what another program refused.
    TakeBackRefusal,
}

/// `struct bpf_insn`
fn instruction(code: u8, registers: u8, immediate: i32) -> [u8; 8] {
    let [a, b, c, d] = immediate.to_ne_bytes();
    [code, registers, 0, 0, a, b, c, d]
}

impl Does {
    fn code(self) -> Vec<u8> {
        const MOVE: u8 = 0xb7;
        const CALL: u8 = 0x85;
        const EXIT: u8 = 0x95;
        const SET_RETVAL: i32 = 187;
        let exit = |value| [instruction(MOVE, 0, value), instruction(EXIT, 0, 0)];
        match self {
            Self::Return(value) => exit(value).concat(),
            Self::TakeBackRefusal => {
                let call = [instruction(MOVE, 1, 0), instruction(CALL, 0, SET_RETVAL)];
                [call, exit(1)].concat().concat()
            }
        }
    }
}

/// Before Linux 5.11 programs and maps count as locked memory. Where it may not be lifted, what comes after
/// fails, if it matters.
fn lift_memory_limit() {
    let unlimited = Rlimit { current: None, maximum: None };
    let _ = setrlimit(Resource::Memlock, unlimited);
}

/// Loads a program.
pub fn program(hook: Hook, does: Does) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: u32,
        instructions: u32,
        code: u64,
        license: u64,
        log: [u32; 2],
        log_buffer: u64,
        kernel: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach: u32,
    }
    lift_memory_limit();
    let code = does.code();
    let mut attr = Attr {
        program: hook.program,
        instructions: u32::try_from(code.len() / 8)?,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        log_buffer: 0,
        kernel: 0,
        flags: 0,
        name: *b"another\0\0\0\0\0\0\0\0\0",
        interface: 0,
        // Packet programs are not loaded for one attachment alone.
        attach: if hook == Hook::TCX_EGRESS { 0 } else { hook.attach },
    };
    descriptor(call(PROG_LOAD, &mut attr)).with_context(|| format!("load {does:?} for {hook:?}"))
}

/// Attaches a program to a cgroup by a link, which lasts as long as its descriptor.
pub fn attach_to_cgroup(cgroup: &Path, hook: Hook, does: Does, flags: u32) -> Result<OwnedFd> {
    let directory = fs::File::open(cgroup)?;
    link(u32::try_from(directory.as_raw_fd())?, hook, does, flags)
        .with_context(|| format!("attach to {}", cgroup.display()))
}

/// Attaches a program to the way out of an interface, by a link.
pub fn attach_to_interface(place: &Place, name: &str, does: Does, flags: u32) -> Result<OwnedFd> {
    let name = CString::new(name)?;
    netns::inside(&place.namespace, || {
        // SAFETY: the name is a C string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        link(index, Hook::TCX_EGRESS, does, flags).with_context(|| format!("attach to {name:?}"))
    })
}

fn link(target: u32, hook: Hook, does: Does, flags: u32) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: u32,
        target: u32,
        attach: u32,
        flags: u32,
        relative: [u64; 2],
    }
    let program = program(hook, does)?;
    let program = u32::try_from(program.as_raw_fd())?;
    let mut attr = Attr { program, target, attach: hook.attach, flags, relative: [0; 2] };
    Ok(descriptor(call(LINK_CREATE, &mut attr))?)
}

/// Makes an array of one number and pins it.
pub fn pin_array(path: &Path) -> Result<()> {
    #[repr(C)]
    struct Make {
        kind: u32,
        key: u32,
        value: u32,
        entries: u32,
        flags: u32,
    }
    lift_memory_limit();
    let mut make = Make { kind: ARRAY, key: 4, value: 4, entries: 1, flags: 0 };
    let map = descriptor(call(MAP_CREATE, &mut make))?;
    let mut pin = Pinned::new(path)?;
    pin.attr.descriptor = u32::try_from(map.as_raw_fd())?;
    call(OBJ_PIN, &mut pin.attr).with_context(|| format!("pin {}", path.display()))?;
    Ok(())
}

/// Loads a program and pins it.
pub fn pin_program(path: &Path, hook: Hook, does: Does) -> Result<()> {
    let program = program(hook, does)?;
    let mut pin = Pinned::new(path)?;
    pin.attr.descriptor = u32::try_from(program.as_raw_fd())?;
    call(OBJ_PIN, &mut pin.attr).with_context(|| format!("pin {}", path.display()))?;
    Ok(())
}

/// Opens what is pinned.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let mut pin = Pinned::new(path)?;
    descriptor(call(OBJ_GET, &mut pin.attr)).with_context(|| format!("open {}", path.display()))
}

/// The number of the link that is pinned, which no other link ever has.
pub fn link_id(path: &Path) -> Result<u64> {
    link_info(path, "link_id:")
}

/// The id of the cgroup that the link that is pinned is on; 0 where that is gone.
pub fn cgroup_of_link(path: &Path) -> Result<u64> {
    link_info(path, "cgroup_id:")
}

/// proc(5), `/proc/pid/fdinfo`
fn link_info(path: &Path, name: &str) -> Result<u64> {
    let link = open(path)?;
    let said = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()))?;
    let value = said.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.with_context(|| format!("no {name} in {said}"))?.trim().parse()?)
}

/// How many entries the map that is pinned has. `KEY` is the size of its keys.
pub fn entries<const KEY: usize>(path: &Path) -> Result<usize> {
    #[repr(C)]
    struct Attr {
        map: u64,
        key: u64,
        next: u64,
    }
    let map = open(path)?;
    let (mut key, mut next) = (None, [0_u8; KEY]);
    for count in 0.. {
        let before = key.as_ref().map_or(0, |key: &[u8; KEY]| key.as_ptr() as u64);
        let map = u64::try_from(map.as_raw_fd())?;
        let mut attr = Attr { map, key: before, next: next.as_mut_ptr() as u64 };
        match call(MAP_GET_NEXT_KEY, &mut attr) {
            Ok(_) => key = Some(next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(0)
}

/// Writes records of connections that there never were into the map that is pinned, without pause until
/// told to stop, and gives how many. Each is new, so that others have to make room.
pub fn flood_records(path: &Path, stop: &AtomicBool) -> Result<usize> {
    #[repr(C)]
    struct Attr {
        map: u64,
        key: u64,
        value: u64,
        flags: u64,
    }
    let map = open(path)?;
    for count in 0.. {
        if stop.load(Ordering::Relaxed) {
            return Ok(count);
        }
        // 2001:db8::/32 is nobody's (RFC 3849). The last word is the port.
        let [high, low] =
            [count >> 16, count & 0xffff].map(|part| u32::try_from(part).unwrap_or(0));
        let key = [0x2001_0db8_u32.to_be(), 0, 0, high, low];
        // A cgroup that never was, at a time that is never long ago.
        let value = [u64::MAX, u64::MAX];
        let mut attr = Attr {
            map: u64::try_from(map.as_raw_fd())?,
            key: key.as_ptr() as u64,
            value: value.as_ptr() as u64,
            flags: 0,
        };
        call(MAP_UPDATE_ELEM, &mut attr).context("write a record")?;
    }
    Ok(0)
}

/// The part of `union bpf_attr` for pins, with the path that it points to.
struct Pinned {
    attr: PinAttr,
    _path: CString,
}

#[repr(C)]
struct PinAttr {
    path: u64,
    descriptor: u32,
    flags: u32,
}

impl Pinned {
    fn new(path: &Path) -> Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let attr = PinAttr { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
        Ok(Self { attr, _path: path })
    }
}

fn call<T>(command: u32, attr: &mut T) -> io::Result<i64> {
    let size = size_of_val(attr);
    // SAFETY: the kernel reads and writes `size` bytes, all of `attr`, whose pointers its maker keeps
    // alive.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, (&raw mut *attr).cast::<u8>(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(result: io::Result<i64>) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(result?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
