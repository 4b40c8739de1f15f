//! The calls of bpf(2) that aya 0.14 has for other kinds of links only.

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type};

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

/// `BPF_OBJ_PIN`: pins a link or a map at `path`.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = attr();
    // SAFETY: all-zero bytes are a valid value of this variant, a struct of integers.
    let pin = unsafe { &mut attr.__bindgen_anon_4 };
    pin.pathname = path.as_ptr() as u64;
    pin.bpf_fd = descriptor(object)?;
    call(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(|_| ())
}

/// What a link holds its program on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The cgroup of this id.
    Cgroup(u64),
    /// The interface of this index.
    Interface(u32),
}

/// What a link holds its program on, or nothing once that is gone or where the link is of a kind that
/// is not ours (`bpf_cgroup_link_fill_link_info`, `tcx_link_fill_info`: both say 0 then).
pub(super) fn target_of(link: BorrowedFd<'_>) -> io::Result<Option<Target>> {
    let info = info_of(link)?;
    let target = if info.type_ == bpf_link_type::BPF_LINK_TYPE_CGROUP as u32 {
        // SAFETY: the kernel fills this variant for a link of this type.
        Target::Cgroup(unsafe { info.__bindgen_anon_1.cgroup.cgroup_id })
    } else if info.type_ == bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
        // SAFETY: as above.
        Target::Interface(unsafe { info.__bindgen_anon_1.tcx.ifindex })
    } else {
        return Ok(None);
    };
    Ok((target != Target::Cgroup(0) && target != Target::Interface(0)).then_some(target))
}

/// The number of a link, which is its own as long as it lives.
pub(super) fn id_of(link: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(info_of(link)?.id)
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a link.
fn info_of(link: BorrowedFd<'_>) -> io::Result<bpf_link_info> {
    // SAFETY: all-zero bytes are a valid value of this struct of integers and unions of them.
    let mut info: bpf_link_info = unsafe { zeroed() };
    let mut attr = attr();
    attr.info.bpf_fd = descriptor(link)?;
    attr.info.info_len = u32::try_from(size_of::<bpf_link_info>()).map_err(io::Error::other)?;
    attr.info.info = (&raw mut info) as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// `BPF_PROG_QUERY`: the number of the link whose program sees first what leaves by an interface; 0
/// for a program without a link, nothing where there is no program (`bpf_mprog_query`).
pub(super) fn first_on_egress(interface: u32) -> io::Result<Option<u32>> {
    let (mut program, mut link) = (0_u32, 0_u32);
    let mut attr = attr();
    attr.query.__bindgen_anon_1.target_ifindex = interface;
    attr.query.attach_type = bpf_attach_type::BPF_TCX_EGRESS as u32;
    attr.query.prog_ids = (&raw mut program) as u64;
    attr.query.link_ids = (&raw mut link) as u64;
    attr.query.__bindgen_anon_2.count = 1;
    match call(bpf_cmd::BPF_PROG_QUERY, &mut attr) {
        // There are more than there is room for; the first has been written.
        Err(error) if error.raw_os_error() != Some(libc::ENOSPC) => return Err(error),
        _ => {}
    }
    Ok((program != 0).then_some(link))
}

/// `BPF_LINK_UPDATE`: puts another program into a link, in one step (`cgroup_bpf_replace`).
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr();
    attr.link_update.link_fd = descriptor(link)?;
    attr.link_update.__bindgen_anon_1.new_prog_fd = descriptor(program)?;
    call(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(|_| ())
}

/// `BPF_LINK_DETACH`: takes a link's program off at once (`bpf_cgroup_link_detach`, `tcx_link_detach`).
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = attr();
    attr.link_detach.link_fd = descriptor(link)?;
    call(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(|_| ())
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
