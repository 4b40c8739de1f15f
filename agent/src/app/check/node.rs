//! What the agent needs of the node itself.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::{fs, io};

use super::Finding;
use crate::app::inspect::Ready;
use crate::app::listen;
use crate::kernel::cgroups::cgroup2_mounts;
use crate::kernel::{ForwardHook, Hooks, PodCgroup, bpffs, needs_perfmon};
use crate::operate::control::Question;
use crate::operate::control::client::{AskError, ask};
use crate::report::Chain;
use crate::settings::{ADMIN_PORT, KernelSettings, Listen};

/// The first kernel with all that the programs use but for the forward guard's tcx.
const OLDEST: (u32, u32) = (5, 10);
/// The first with tcx (kernel commit e420bed02507, "bpf: Add fd-based tcx multi-prog infra").
const TCX: (u32, u32) = (6, 6);

/// Capabilities by their number in `include/uapi/linux/capability.h`, and what each is for.
const CAPABILITIES: [(u32, &str, &str); 4] = [
    (2, "CAP_DAC_READ_SEARCH", "which pod's cgroup a connection comes from"),
    (12, "CAP_NET_ADMIN", "the forward guard on interfaces"),
    (21, "CAP_SYS_ADMIN", "mounting the BPF file system, and the self-test's network namespace"),
    (39, "CAP_BPF", "the eBPF programs"),
];
const PERFMON: (u32, &str, &str) = (38, "CAP_PERFMON", "the eBPF programs, before Linux 6.18");

pub(super) fn kernel() -> Finding {
    const CHECK: &str = "kernel";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match version(release) {
        None => Finding::unsure(
            CHECK,
            format!("release {release:?}"),
            "podrole needs Linux 5.10 or newer",
        ),
        Some(found) if found < OLDEST => {
            Finding::bad(CHECK, format!("Linux {release}"), "podrole needs Linux 5.10 or newer")
        }
        Some(found) if found < TCX => Finding::good(
            CHECK,
            format!("Linux {release}: without tcx, the forward guard uses clsact"),
        ),
        Some(_) => Finding::good(CHECK, format!("Linux {release}")),
    }
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn capabilities() -> Finding {
    const CHECK: &str = "capabilities";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(effective) = effective(&status) else {
        return Finding::unsure(CHECK, "cannot be told", "is /proc mounted?");
    };
    let needed = || CAPABILITIES.into_iter().chain(needs_perfmon().then_some(PERFMON));
    let lacking: Vec<_> = needed()
        .filter(|(number, _, _)| effective & (1_u64 << *number) == 0)
        .map(|(_, name, reason)| format!("{name} ({reason})"))
        .collect();
    if lacking.is_empty() {
        let names: Vec<_> = needed().map(|(_, name, _)| name).collect();
        return Finding::good(CHECK, names.join(", "));
    }
    let found = format!("lacks {}", lacking.join(", "));
    Finding::bad(CHECK, found, "run it as root; in a pod, with securityContext.privileged")
}

/// proc(5), `CapEff`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The hooks that a kernel may lack, by the names that `--allow-missing-guards` takes.
pub(super) fn guards(kernel: &KernelSettings) -> Finding {
    const CHECK: &str = "guards";
    match Hooks::of_running(kernel.forward_hook, &[]).forward() {
        ForwardHook::Tcx => Finding::good(CHECK, "forward: by tcx"),
        ForwardHook::Clsact => Finding::good(
            CHECK,
            "forward: by filters of clsact (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF); a kernel without them is refused, unless --allow-missing-guards says forward",
        ),
    }
}

pub(super) fn cgroup2() -> Finding {
    const CHECK: &str = "cgroup2";
    match cgroup2_mounts() {
        Ok(mounts) => {
            let mounts: Vec<_> = mounts.iter().map(|mount| mount.display().to_string()).collect();
            Finding::good(CHECK, format!("mounted at {}", mounts.join(", ")))
        }
        Err(error) => Finding::of_error(CHECK, &error),
    }
}

/// Whether podrole's ports are free, on a node where no agent runs.
fn ports(kernel: &KernelSettings) -> Finding {
    const CHECK: &str = "ports";
    // That no address can be told is a finding of its own.
    let proxies = listen::or_primary(kernel.listen).ok();
    let admin = kernel.admin_listen.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, ADMIN_PORT).into());
    let proxies = proxies.iter().flat_map(Listen::addresses);
    let all: Vec<SocketAddr> = proxies.chain([admin]).collect();
    let taken = |address: &&SocketAddr| {
        let bound = std::net::TcpListener::bind(address);
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    let taken: Vec<_> = all.iter().filter(taken).map(ToString::to_string).collect();
    if taken.is_empty() {
        let ports: BTreeSet<_> = all.iter().map(|address| address.port().to_string()).collect();
        let ports: Vec<_> = ports.into_iter().collect();
        return Finding::good(CHECK, format!("{} are free", ports.join(" and ")));
    }
    Finding::bad(
        CHECK,
        format!("somebody else listens on {}", taken.join(", ")),
        "`ss -ltnp` says who; give podrole another port by --listen or --admin-listen",
    )
}

pub(super) fn pods(given: Option<&Path>) -> Finding {
    const CHECK: &str = "pods' cgroup";
    match PodCgroup::find(given) {
        Ok(Some(cgroup)) => Finding::good(CHECK, cgroup.path().display().to_string()),
        Ok(None) => Finding::bad(
            CHECK,
            "is not there",
            "has kubelet started? `podrole attach --wait` waits for it; another name is given by --pod-cgroup",
        ),
        Err(error) => Finding::of_error(CHECK, &error),
    }
}

pub(super) fn bpf_fs(path: &Path) -> Finding {
    const CHECK: &str = "BPF file system";
    let shown = path.display();
    if bpffs::is_mounted(path) {
        Finding::good(CHECK, format!("mounted at {shown}"))
    } else {
        Finding::unsure(
            CHECK,
            format!("not mounted at {shown}"),
            "on the node the agent mounts it; a container needs the host's (hostPath, mountPropagation: Bidirectional)",
        )
    }
}

pub(super) fn addresses(given: &[String]) -> Finding {
    const CHECK: &str = "addresses";
    if !given.is_empty() {
        return Finding::good(CHECK, format!("{} by --listen", given.join(", ")));
    }
    match listen::or_primary(None) {
        Ok(Listen { v4, v6 }) => {
            let v6 = v6.map_or("no IPv6".to_owned(), |v6| v6.to_string());
            Finding::good(CHECK, format!("{v4}, {v6}"))
        }
        Err(error) => Finding::of_error(CHECK, &error),
    }
}

/// The agent, if one runs, or else whether one could have its ports.
pub(super) async fn agent(socket: &Path, kernel: &KernelSettings) -> Vec<Finding> {
    const CHECK: &str = "agent";
    vec![match ask::<Ready>(socket, &Question::Ready).await {
        Ok(ready) if ready.ready => Finding::good(CHECK, "runs and is ready"),
        Ok(ready) => Finding::bad(CHECK, format!("runs, {ready}"), "see its log"),
        Err(AskError::NoAgent { .. }) => {
            let none = Finding::unsure(
                CHECK,
                format!("none answers at {}", socket.display()),
                "without one, pods are refused where the programs are attached, and have the node's role where they are not",
            );
            return vec![none, ports(kernel)];
        }
        Err(error) => Finding::bad(CHECK, Chain(&error).to_string(), "see its log"),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_kinds_are_read() {
        assert_eq!(version("6.18.5"), Some((6, 18)));
        assert_eq!(version("5.10.245-241.976.amzn2.x86_64"), Some((5, 10)));
        assert_eq!(version("6.8-rc1"), Some((6, 8)));
        assert_eq!(version("linux"), None);
    }

    #[test]
    fn capabilities_are_read_from_proc() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
