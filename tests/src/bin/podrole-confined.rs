//! Runs a program as container runtimes do by default: without the system calls that their seccomp profile
//! keeps from containers without `CAP_SYS_ADMIN` (moby and containerd, `profiles/seccomp`).

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

/// Those of the profile that need `CAP_SYS_ADMIN`, `CAP_SYS_PTRACE` or `CAP_PERFMON`, and those that are not
/// in it at all. `bpf` and `open_by_handle_at` are let through to who has `CAP_BPF` and
/// `CAP_DAC_READ_SEARCH`.
const REFUSED: [libc::c_long; 28] = [
    libc::SYS_add_key,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];
/// `CLONE_NEW*` (the profile's mask).
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Offsets in `struct seccomp_data`: the system call's number, and the low half of its first argument.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("podrole-confined PROGRAM ARGUMENTS…")?;
    confine().context("seccomp")?;
    let error = Command::new(&program).args(words).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

fn confine() -> io::Result<()> {
    let mut filter = vec![load(NUMBER)];
    for call in REFUSED {
        filter.extend(unless_equal(call, returns(errno(libc::EPERM))));
    }
    // glibc falls back to clone, whose flags a filter can read.
    filter.extend(unless_equal(libc::SYS_clone3, returns(errno(libc::ENOSYS))));
    filter.push(jump(libc::BPF_JEQ, number(libc::SYS_clone), 0, 3));
    filter.push(load(FIRST_ARGUMENT));
    filter.push(jump(libc::BPF_JSET, NEW_NAMESPACES, 0, 1));
    filter.push(returns(errno(libc::EPERM)));
    filter.push(returns(libc::SECCOMP_RET_ALLOW));
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: plain numbers; then a pointer to a live program of live instructions.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if set { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn unless_equal(call: libc::c_long, then: libc::sock_filter) -> [libc::sock_filter; 2] {
    [jump(libc::BPF_JEQ, number(call), 0, 1), then]
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn errno(code: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | code.unsigned_abs()
}

fn load(offset: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

fn jump(condition: u32, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | condition | libc::BPF_K, value, yes, no)
}

fn returns(value: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}
