//! Loads the programs and attaches them to the pods' cgroup.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use aya::programs::CgroupSockAddr;
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use podrole_ebpf::{PROGRAMS, variable, wire_port, wire_v4, wire_v6};
use tracing::{Level, enabled, info};

use super::log::Log;
use super::{KernelError, NetnsCookie, PinDirectory, PodCgroup, mend, pins};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/podrole-programs"));

/// Which connections go where.
#[derive(Clone, Copy, Debug)]
pub struct Redirect {
    /// The metadata service's IPv4 address, if pods' connections to it are redirected.
    pub metadata_v4: Option<Ipv4Addr>,
    /// The metadata service's IPv6 address, if pods' connections to it are redirected.
    pub metadata_v6: Option<Ipv6Addr>,
    /// Where the proxy listens. IPv6 connections come here too, as IPv4-mapped ones, where it has no
    /// IPv6 address.
    pub proxy_v4: SocketAddrV4,
    /// Where the proxy listens for IPv6.
    pub proxy_v6: Option<SocketAddrV6>,
    /// The node's network namespace: connections from it are left alone.
    pub node: NetnsCookie,
}

/// The programs, loaded and not yet attached.
pub struct Programs(Ebpf);

impl Programs {
    /// Loads them into the kernel, which verifies them; nothing changes for any pod.
    ///
    /// # Errors
    /// What the kernel refused, and what may help.
    pub fn load(redirect: &Redirect) -> Result<Self, KernelError> {
        if OBJECT.is_empty() {
            return Err(KernelError::NoPrograms);
        }
        let metadata_v4 = wire_v4(redirect.metadata_v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        let metadata_v6 = wire_v6(redirect.metadata_v6.unwrap_or(Ipv6Addr::UNSPECIFIED).to_bits());
        let proxy_v6 = redirect.proxy_v6.map(|proxy| (wire_v6(proxy.ip().to_bits()), proxy.port()));
        let (proxy_v6, proxy_v6_port) = proxy_v6.unwrap_or_default();
        let mut programs = EbpfLoader::new()
            .override_global(variable::METADATA_V4, &metadata_v4, true)
            .override_global(variable::METADATA_V6, &metadata_v6, true)
            .override_global(variable::PROXY_V4, &wire_v4(redirect.proxy_v4.ip().octets()), true)
            .override_global(variable::PROXY_V4_PORT, &wire_port(redirect.proxy_v4.port()), true)
            .override_global(variable::PROXY_V6, &proxy_v6, true)
            .override_global(variable::PROXY_V6_PORT, &wire_port(proxy_v6_port), true)
            .override_global(variable::NODE_NETNS_COOKIE, &redirect.node.wire(), true)
            .override_global(aya_log::LEVEL, &log_level(), true)
            .load(OBJECT)
            .map_err(|source| KernelError::Load { mend: mend(&source), source })?;
        for name in PROGRAMS {
            program(&mut programs, name)?.load().map_err(|source| KernelError::Program {
                program: name,
                mend: mend(&source),
                source,
            })?;
        }
        Ok(Self(programs))
    }

    /// Attaches each to the pods' cgroup by a pinned link, which outlives the agent; a link that is
    /// there already gets the new program, so that no connection slips between the two.
    ///
    /// # Errors
    /// What the kernel refused. Links that this call made are removed again; those that stood before
    /// stay.
    pub fn attach(
        &mut self,
        cgroup: &PodCgroup,
        directory: &PinDirectory,
    ) -> Result<(), KernelError> {
        let mut made = Vec::new();
        for name in PROGRAMS {
            let attached = program(&mut self.0, name)
                .and_then(|program| pins::attach(program, name, cgroup, &directory.pin(name)));
            match attached {
                Ok(pins::Attached::Made(pin)) => made.push(pin),
                Ok(pins::Attached::Updated) => {}
                Err(error) => {
                    for pin in &made {
                        pins::remove(pin);
                    }
                    return Err(error);
                }
            }
        }
        let new = made.len();
        info!(cgroup = %cgroup.path().display(), new, taken_up = PROGRAMS.len() - new, "attached");
        Ok(())
    }

    /// The programs' log lines, to be read as long as the programs are attached.
    ///
    /// # Errors
    /// Where the kernel's ring buffer cannot be read.
    pub fn log(&mut self) -> Result<Log, KernelError> {
        let lines = EbpfLogger::init(&mut self.0).map_err(|error| KernelError::Syscall {
            call: "mmap",
            object: "the programs' log".into(),
            mend: "",
            source: std::io::Error::other(error),
        })?;
        Log::new(lines)
    }
}

fn program<'a>(
    programs: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut CgroupSockAddr, KernelError> {
    let program = programs.program_mut(name).ok_or(KernelError::Missing(name))?;
    program.try_into().map_err(|_| KernelError::Missing(name))
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
