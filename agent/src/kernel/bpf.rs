//! The calls of bpf(2) that aya 0.14 has for other kinds of links only.

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info};

/// `BPF_OBJ_GET`: opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attr();
    // SAFETY: all-zero bytes are a valid value of this variant, a struct of integers.
    let object = unsafe { &mut attr.__bindgen_anon_4 };
    object.pathname = path.as_ptr() as u64;
    let fd = call(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a cgroup link: the id of the cgroup that it holds a program on, or 0
/// once that cgroup is gone (`bpf_cgroup_link_fill_link_info`).
pub(super) fn cgroup_of(link: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: all-zero bytes are a valid value of this struct of integers and unions of them.
    let mut info: bpf_link_info = unsafe { zeroed() };
    let mut attr = attr();
    attr.info.bpf_fd = descriptor(link)?;
    attr.info.info_len = u32::try_from(size_of::<bpf_link_info>()).map_err(io::Error::other)?;
    attr.info.info = (&raw mut info) as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // SAFETY: the pin is one of ours, hence a cgroup link, for which the kernel fills this variant.
    Ok(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id })
}

/// `BPF_LINK_UPDATE`: puts another program into a link, in one step (`cgroup_bpf_replace`).
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr();
    attr.link_update.link_fd = descriptor(link)?;
    attr.link_update.__bindgen_anon_1.new_prog_fd = descriptor(program)?;
    call(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(|_| ())
}

fn attr() -> bpf_attr {
    // SAFETY: all-zero bytes are a valid value of this union of structs of integers, and the kernel
    // demands zero wherever a command has no field.
    unsafe { zeroed() }
}

fn descriptor(fd: BorrowedFd<'_>) -> io::Result<u32> {
    u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)
}

fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is live and as long as said; the pointers in it are to values that its maker
    // keeps alive across this call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, (&raw mut *attr).cast::<u8>(), size_of::<bpf_attr>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
