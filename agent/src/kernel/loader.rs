//! Loads the programs and attaches them to the pods' cgroup.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use podrole_ebpf::{CGROUP_PROGRAMS, variable, wire_port, wire_v4, wire_v6};
use tracing::{Level, enabled, info};

use super::bpf::Target;
use super::forward::ForwardGuard;
use super::hooks::Hooks;
use super::interfaces::Watch;
use super::log::Log;
use super::maps::{self, CgroupId, Counters};
use super::records::Records;
use super::{
    Enforced, KernelError, Modes, NetnsCookie, PinDirectory, PodCgroup, RequestLines, mend, pins,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/podrole-programs"));

/// What the programs decide by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The metadata service's IPv4 address, if it is redirected and guarded.
    pub metadata_v4: Option<Ipv4Addr>,
    /// The metadata service's IPv6 address, if it is redirected and guarded.
    pub metadata_v6: Option<Ipv6Addr>,
    /// Whether port 80 of the addresses of container credentials is redirected too.
    pub container_credentials: bool,
    /// Where the proxy listens. IPv6 connections come here too, as IPv4-mapped ones, where it has no
    /// IPv6 address.
    pub proxy_v4: SocketAddrV4,
    /// Where the proxy listens for IPv6.
    pub proxy_v6: Option<SocketAddrV6>,
    /// The admin endpoint's port, which no pod may take.
    pub admin_port: u16,
    /// The node's network namespace: what comes from it is left alone.
    pub node: NetnsCookie,
    /// Whether pods in that namespace are held too, each as [`Modes`] says.
    pub holds_host_network: bool,
}

impl Rules {
    /// The metadata service's addresses.
    pub(super) fn metadata(&self) -> impl Iterator<Item = IpAddr> {
        [self.metadata_v4.map(IpAddr::V4), self.metadata_v6.map(IpAddr::V6)].into_iter().flatten()
    }

    /// podrole's own ports.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let proxies = self.proxies().map(|proxy| proxy.port());
        proxies.chain([self.admin_port]).collect()
    }

    /// Where the proxy listens.
    pub(super) fn proxies(&self) -> impl Iterator<Item = SocketAddr> {
        [Some(self.proxy_v4.into()), self.proxy_v6.map(SocketAddr::from)].into_iter().flatten()
    }
}

/// The programs, loaded, and where their links are pinned.
pub struct Programs {
    /// The one on interfaces.
    pub forward: ForwardGuard,
}

/// What comes with the programs.
pub struct Loaded {
    /// The programs, not yet attached.
    pub programs: Programs,
    /// Who is on the way to the proxy.
    pub records: Records,
    /// What the programs counted.
    pub counters: Counters,
    /// What is done with pods.
    pub modes: Modes,
    /// Who is enforced in any case.
    pub enforced: Enforced,
    /// What pods in audit ask for.
    pub request_lines: RequestLines,
    /// Their log lines.
    pub log: Log,
}

impl Programs {
    /// Loads the programs into the kernel, which verifies them; nothing changes for any pod.
    ///
    /// # Errors
    /// What the kernel refused, and what may help.
    pub fn load(
        rules: &Rules,
        hooks: Hooks,
        cgroup: &PodCgroup,
        directory: PinDirectory,
    ) -> Result<Loaded, KernelError> {
        let mut ebpf = open(rules, cgroup.level(), &directory)?;
        for name in CGROUP_PROGRAMS {
            verify(&mut ebpf, name)?;
        }
        let proxies = rules.proxies().map(|proxy| proxy.ip());
        maps::set_node_addresses(&mut ebpf, proxies)?;
        let records = Records::open(&directory, directory.others())?;
        let counters = maps::take_counters(&mut ebpf)?;
        let modes = Modes::open(&directory)?;
        let enforced = Enforced::open(&directory)?;
        let request_lines = RequestLines::new(&mut ebpf)?;
        let log = Log::new(EbpfLogger::init(&mut ebpf).map_err(no_log)?)?;
        let forward = ForwardGuard::verify(ebpf, hooks, directory)?;
        let programs = Self { forward };
        Ok(Loaded { programs, records, counters, modes, enforced, request_lines, log })
    }

    /// Has programs leave the pod alone that this process is in, those of an earlier agent too.
    ///
    /// # Errors
    /// Where the pods' cgroup cannot be read, or the kernel does not take it.
    pub fn leave_own_pod_alone(&mut self, cgroup: &PodCgroup) -> Result<(), KernelError> {
        let Some(own) = cgroup.own_pod()? else { return Ok(()) };
        maps::exempt(&mut self.forward.ebpf, own)
    }

    /// Has programs leave no other pod alone than the one that this process is in.
    ///
    /// # Errors
    /// As [`Self::leave_own_pod_alone`].
    pub fn leave_no_other_alone(&mut self, cgroup: &PodCgroup) -> Result<(), KernelError> {
        maps::exempt_only(&mut self.forward.ebpf, cgroup.own_pod()?)
    }

    /// Sends nobody to the proxy's port from now on, or everybody again.
    ///
    /// # Errors
    /// Where the kernel does not take it.
    pub fn refuse(&mut self, refuse: bool) -> Result<(), KernelError> {
        maps::refuse(&mut self.forward.ebpf, refuse)
    }

    /// Attaches the programs of the pods' cgroup by pinned links, which outlive the agent; a link that
    /// is there already gets the new program, so that nothing slips between the two.
    ///
    /// # Errors
    /// What the kernel refused. Links that this call made are removed again; those that stood before
    /// stay.
    pub fn attach_to_pods(&mut self, cgroup: &PodCgroup) -> Result<(), KernelError> {
        let mut made = Vec::new();
        maps::mark_pods(&mut self.forward.ebpf, CgroupId(cgroup.id()))?;
        for name in CGROUP_PROGRAMS {
            let pin = self.forward.directory.pin(name);
            match attach_to_cgroup(&mut self.forward.ebpf, name, cgroup, &pin) {
                Ok(true) => made.push(pin),
                Ok(false) => {}
                Err(error) => {
                    for pin in &made {
                        pins::remove(pin);
                    }
                    return Err(error);
                }
            }
        }
        let new = made.len();
        let taken_up = CGROUP_PROGRAMS.len() - new;
        self.forward.keep();
        info!(cgroup = %cgroup.path().display(), new, taken_up, "attached to the pods' cgroup");
        Ok(())
    }

    /// Takes the programs off the node: what redirects goes before what refuses.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn detach(&mut self, interfaces: &Watch) -> Result<(), KernelError> {
        for name in CGROUP_PROGRAMS.iter().rev() {
            pins::detach(&self.forward.directory.pin(name))?;
        }
        self.forward.remove(interfaces).await
    }

    /// Whether every link is still on the pods' cgroup, which can be removed and made again.
    #[must_use]
    pub fn are_on(&self, cgroup: &PodCgroup) -> bool {
        let target = Target::Cgroup(cgroup.id());
        CGROUP_PROGRAMS.iter().all(|name| pins::is_on(target, &self.forward.directory.pin(name)))
    }
}

/// Makes the maps, or takes up those that are pinned, and readies the programs for the verifier.
/// `level` is how deep the pods' cgroup lies below the root.
pub(super) fn open(rules: &Rules, level: u32, pins: &PinDirectory) -> Result<Ebpf, KernelError> {
    if OBJECT.is_empty() {
        return Err(KernelError::NoPrograms);
    }
    maps::check_pins(pins)?;
    let metadata_v4 = wire_v4(rules.metadata_v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    let metadata_v6 = wire_v6(rules.metadata_v6.unwrap_or(Ipv6Addr::UNSPECIFIED).to_bits());
    let proxy_v6 = rules.proxy_v6.map(|proxy| (wire_v6(proxy.ip().to_bits()), proxy.port()));
    let (proxy_v6, proxy_v6_port) = proxy_v6.unwrap_or_default();
    let mut loader = EbpfLoader::new();
    for name in maps::pinned() {
        loader.map_pin_path(name, pins.pin(name));
    }
    loader
        .override_global(variable::METADATA_V4, &metadata_v4, true)
        .override_global(variable::METADATA_V6, &metadata_v6, true)
        // Programs built without it redirect nothing of it, which is what `off` asks for.
        .override_global(
            variable::CONTAINER,
            &u8::from(rules.container_credentials),
            rules.container_credentials,
        )
        .override_global(variable::PROXY_V4, &wire_v4(rules.proxy_v4.ip().octets()), true)
        .override_global(variable::PROXY_V4_PORT, &wire_port(rules.proxy_v4.port()), true)
        .override_global(variable::PROXY_V6, &proxy_v6, true)
        .override_global(variable::PROXY_V6_PORT, &wire_port(proxy_v6_port), true)
        .override_global(variable::ADMIN_PORT, &wire_port(rules.admin_port), true)
        .override_global(variable::NODE_NETNS_COOKIE, &rules.node.wire(), true)
        .override_global(variable::HOLDS_HOST_NETWORK, &u8::from(rules.holds_host_network), true)
        .override_global(variable::PODS_LEVEL, &level, true)
        .override_global(variable::HAS_SET_RETVAL, &since(5, 18), true)
        .override_global(variable::HAS_FORWARD_NETNS, &since(6, 13), true)
        .override_global(variable::HAS_PACKET_NETNS, &since(6, 15), true)
        .override_global(aya_log::LEVEL, &log_level(), true)
        .load(OBJECT)
        .map_err(|source| KernelError::Load { mend: mend(&source), source })
}

/// Whether the verifier takes the programs from a process with `CAP_PERFMON` alone. Else an older one follows
/// ways that only a processor that guesses wrong would go, and refuses what it meets there. 5.10, 6.1 and 6.12
/// do, 6.18 is the first that was seen to take them without.
#[must_use]
pub fn needs_perfmon() -> bool {
    since(6, 18) == 0
}

/// Whether the kernel is at least this one, as the programs take it. A helper that a distribution has
/// ported back to an older one goes unused, which is safe.
fn since(major: u8, minor: u8) -> u8 {
    let running = KernelVersion::current();
    u8::from(running.is_ok_and(|running| running >= KernelVersion::new(major, minor, 0)))
}

fn verify(ebpf: &mut Ebpf, name: &'static str) -> Result<(), KernelError> {
    match ebpf.program_mut(name) {
        Some(Program::CgroupSockAddr(program)) => program.load(),
        Some(Program::CgroupSkb(program)) => program.load(),
        _ => return Err(KernelError::Missing(name)),
    }
    .map_err(refused(name))
}

/// True where a new link was made.
fn attach_to_cgroup(
    ebpf: &mut Ebpf,
    name: &'static str,
    cgroup: &PodCgroup,
    pin: &Path,
) -> Result<bool, KernelError> {
    // Links take no flags, and always leave room for other programs; any other mode is EINVAL.
    const MODE: CgroupAttachMode = CgroupAttachMode::Single;
    let target = Target::Cgroup(cgroup.id());
    let link = match ebpf.program_mut(name) {
        Some(Program::CgroupSockAddr(program)) => {
            let fd = program.fd().map_err(refused(name))?;
            if pins::take_up(fd.as_fd(), target, pin)? {
                return Ok(false);
            }
            let link = program
                .attach(cgroup.directory(), MODE)
                .and_then(|id| program.take_link(id))
                .map_err(refused(name))?;
            FdLink::try_from(link)
        }
        Some(Program::CgroupSkb(program)) => {
            let fd = program.fd().map_err(refused(name))?;
            if pins::take_up(fd.as_fd(), target, pin)? {
                return Ok(false);
            }
            let link = program
                .attach(cgroup.directory(), CgroupSkbAttachType::Egress, MODE)
                .and_then(|id| program.take_link(id))
                .map_err(refused(name))?;
            FdLink::try_from(link)
        }
        _ => return Err(KernelError::Missing(name)),
    };
    pins::pin(link.map_err(|_| KernelError::NoLinks)?, pin)?;
    Ok(true)
}

pub(super) fn refused(program: &'static str) -> impl Fn(ProgramError) -> KernelError {
    move |source| KernelError::Program { program, mend: mend(&source), source }
}

fn no_log(error: aya_log::Error) -> KernelError {
    KernelError::Syscall {
        call: "mmap",
        object: "the programs' log".into(),
        mend: "",
        source: std::io::Error::other(error),
    }
}

/// Lines that nobody asked for are pruned by the verifier and cost nothing.
fn log_level() -> u8 {
    let level = if enabled!(target: "podrole_programs", Level::DEBUG) {
        aya_log::Level::Debug
    } else {
        aya_log::Level::Info
    };
    level as u8
}
