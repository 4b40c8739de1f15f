//! The forward guard by filters of the queueing discipline `clsact`, before Linux 6.6.
//!
//! A filter belongs to its interface and outlives the agent without a pin. `clsact` itself is never
//! removed: between a look at its filters and its removal another tool may add one, and an empty one does
//! nothing.

use std::collections::BTreeSet;
use std::io;
use std::mem::ManuallyDrop;

use aya::programs::links::Link as _;
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use futures_util::TryStreamExt as _;
use podrole_ebpf::FORWARD_PROGRAM;
use rtnetlink::Handle;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcFilterBpfOption, TcHandle as WireHandle, TcMessage, TcOption,
};
use tracing::{debug, info, warn};

use super::hooks::Hook;
use super::interfaces::{Chosen, Interfaces, Watch, answered};
use super::{KernelError, mend};
use crate::report::Chain;

/// Packets pass the filters of lower numbers first, and none is lower (0 lets the kernel choose).
const PRIORITY: u16 = 1;
/// Ours, which no other tool comes upon (Cilium's filters have priority 1 and the handle 1). Among
/// those of one priority a new one comes first (`cls_bpf_change`), so one overtakes with the other.
const HANDLES: [TcHandle; 2] = [TcHandle::new(0x706f, 1), TcHandle::new(0x706f, 2)];
/// The kind of queueing discipline that has filters on the way out.
const CLSACT: &str = "clsact";

/// Where this process keeps filters.
#[derive(Debug)]
pub(super) struct Clsact {
    guarded: Interfaces,
    kept: bool,
}

impl Clsact {
    /// Unless `kept`, its filters are removed again with it: a start that fails leaves the node as it
    /// was.
    pub(super) fn new(kept: bool) -> Self {
        Self { guarded: Interfaces::new(), kept }
    }

    /// From now on its filters outlive this process.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// Puts the program before all other filters of each interface, and takes it from the others.
    pub(super) async fn guard(
        &mut self,
        program: &mut SchedClassifier,
        watch: &Watch,
        interfaces: Interfaces,
        fresh: bool,
    ) -> Result<(), KernelError> {
        let mut others = std::mem::take(&mut self.guarded);
        if fresh {
            // An earlier agent's, too.
            let links = watch.look().await?;
            others.extend(links.into_iter().map(|(index, link)| (index, link.name)));
        }
        let mut all = Ok(());
        for (index, name) in &interfaces {
            match guard_one(program, watch, *index, name, fresh).await {
                Err(error) if error.is_of_gone_interface() => continue,
                // One that refuses leaves no other one open.
                guarded => all = all.and(guarded),
            }
            self.guarded.insert(*index, name.clone());
        }
        for (index, name) in others.iter().filter(|(index, _)| !interfaces.contains_key(index)) {
            if let Err(error) = remove_from(watch.handle(), *index, name).await {
                warn!(interface = %name, error = %Chain(&error), "the forward guard cannot be removed");
            }
        }
        all
    }

    /// Whether it still is the first filter of each interface.
    pub(super) async fn stands(&self, watch: &Watch) -> bool {
        for index in self.guarded.keys() {
            if !Filters::on(watch.handle(), *index).await.is_ok_and(|filters| filters.is_first()) {
                return false;
            }
        }
        true
    }
}

impl Drop for Clsact {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for interface in self.guarded.values() {
            for handle in HANDLES {
                if let Err(error) = remove(interface, handle) {
                    warn!(%interface, error = %Chain(&error), "cannot remove the filter of this start");
                }
            }
        }
    }
}

/// Removes podrole's filters from every interface.
///
/// # Errors
/// What the kernel refused; the other interfaces' are removed all the same.
pub async fn remove_all() -> Result<(), KernelError> {
    let (watch, connection) = Watch::new(Chosen::default())?;
    let removed = async {
        let mut removed = Ok(());
        for (index, link) in watch.look().await? {
            removed = removed.and(remove_from(watch.handle(), index, &link.name).await);
        }
        removed
    };
    tokio::select! {
        removed = removed => removed,
        () = connection => Err(KernelError::NetlinkClosed),
    }
}

async fn remove_from(netlink: &Handle, index: u32, interface: &str) -> Result<(), KernelError> {
    for handle in Filters::on(netlink, index).await?.ours() {
        remove(interface, handle)?;
    }
    Ok(())
}

async fn guard_one(
    program: &mut SchedClassifier,
    watch: &Watch,
    index: u32,
    interface: &str,
    fresh: bool,
) -> Result<(), KernelError> {
    let filters = Filters::on(watch.handle(), index).await?;
    let mut ours = filters.ours();
    let Some(own) = ours.next() else {
        ensure_clsact(watch.handle(), index, interface).await?;
        add(program, interface, HANDLES[0])?;
        info!(interface, "forward guard attached");
        return Ok(());
    };
    // Left by an agent that was killed while it overtook.
    for second in ours {
        remove(interface, second)?;
    }
    if !filters.is_first() {
        add(program, interface, other_than(own))?;
        remove(interface, own)?;
        warn!(
            interface,
            "another program had been put before the forward guard, which is first again"
        );
    } else if fresh {
        replace(program, interface, own)?;
        debug!(interface, "forward guard taken up");
    }
    Ok(())
}

/// The handle that is free while a filter of ours has this one.
fn other_than(own: TcHandle) -> TcHandle {
    let [first, second] = HANDLES;
    if own == first { second } else { first }
}

/// The filters on the way out of an interface as packets pass them: the handle of one that is ours, or
/// nothing for another tool's.
#[derive(Debug, PartialEq, Eq)]
struct Filters(Vec<Option<TcHandle>>);

impl Filters {
    /// Those of an interface; none where it is gone.
    async fn on(netlink: &Handle, index: u32) -> Result<Self, KernelError> {
        let index = i32::try_from(index).map_err(|error| failed("RTM_GETTFILTER", error))?;
        let all = netlink.traffic_filter(index).get().egress().execute().try_collect::<Vec<_>>();
        Ok(Self::of(&answered("RTM_GETTFILTER", all).await?))
    }

    /// The kernel tells them in their order, each priority led by a message without a handle
    /// (`tcf_chain_dump`).
    fn of(messages: &[TcMessage]) -> Self {
        let filters = messages.iter().filter(|message| {
            message.header.handle != WireHandle::UNSPEC && is_of_first_chain(message)
        });
        Self(filters.map(own_handle).collect())
    }

    fn ours(&self) -> impl Iterator<Item = TcHandle> {
        self.0.iter().copied().flatten()
    }

    fn is_first(&self) -> bool {
        matches!(self.0.first(), Some(Some(_)))
    }
}

/// Other chains are passed only by those whom a filter of the first one sends there.
fn is_of_first_chain(message: &TcMessage) -> bool {
    !message
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, TcAttribute::Chain(chain) if *chain != 0))
}

fn own_handle(message: &TcMessage) -> Option<TcHandle> {
    let WireHandle { major, minor } = message.header.handle;
    let handle = TcHandle::new(major, minor);
    let is_ours = message.header.info >> 16 == u32::from(PRIORITY)
        && HANDLES.contains(&handle)
        && message.attributes.iter().any(names_our_program);
    is_ours.then_some(handle)
}

/// Options are read as these for filters of the kind bpf alone. Ours has no name where aya may not find out
/// whether the kernel takes one, which needs `CAP_PERFMON`.
fn names_our_program(attribute: &TcAttribute) -> bool {
    let TcAttribute::Options(options) = attribute else { return false };
    options.iter().any(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => {
            name.is_empty() || name == FORWARD_PROGRAM
        }
        _ => false,
    })
}

/// Gives the interface `clsact`, unless it has it.
async fn ensure_clsact(netlink: &Handle, index: u32, interface: &str) -> Result<(), KernelError> {
    const CALL: &str = "RTM_NEWQDISC";
    let error = match tc::qdisc_add_clsact(interface) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    match errno(&error) {
        Some(libc::ENOENT | libc::EOPNOTSUPP) => Err(no_hook(error)),
        Some(libc::EEXIST) => {
            // The older `ingress` lies in the same place, and takes filters for the way out as if they
            // were for the way in (`ingress_tcf_block`).
            if kinds_on(netlink, index).await?.contains(CLSACT) {
                return Ok(());
            }
            Err(KernelError::NoRoom { interface: interface.into(), source: io_error(error) })
        }
        _ => Err(refused(CALL, interface, error)),
    }
}

async fn kinds_on(netlink: &Handle, index: u32) -> Result<BTreeSet<String>, KernelError> {
    let all = netlink.qdisc().get().execute().try_collect::<Vec<_>>();
    let all = answered("RTM_GETQDISC", all).await?;
    let here = all.into_iter().filter(|message| u32::try_from(message.header.index) == Ok(index));
    let kind = |attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind),
        _ => None,
    };
    Ok(here.flat_map(|message| message.attributes).filter_map(kind).collect())
}

fn add(
    program: &mut SchedClassifier,
    interface: &str,
    handle: TcHandle,
) -> Result<(), KernelError> {
    let options = NlOptions { priority: PRIORITY, handle, classid: None };
    let options = TcAttachOptions::Netlink(options);
    let added = program.attach_with_options(interface, TcAttachType::Egress, options);
    match added.and_then(|id| program.take_link(id)) {
        Ok(link) => {
            outlive(link);
            Ok(())
        }
        Err(ProgramError::TcError(error)) if errno(&error) == Some(libc::ENOENT) => {
            Err(no_hook(error))
        }
        Err(error) => Err(not_attached(interface, error)),
    }
}

/// Puts the program into a filter that stands, in one step (`cls_bpf_change`).
fn replace(
    program: &mut SchedClassifier,
    interface: &str,
    handle: TcHandle,
) -> Result<(), KernelError> {
    let replaced = program.attach_to_link(attached(interface, handle)?);
    let link = replaced
        .and_then(|id| program.take_link(id))
        .map_err(|error| not_attached(interface, error))?;
    outlive(link);
    Ok(())
}

/// aya removes a filter with its link.
fn outlive(link: SchedClassifierLink) {
    let _ = ManuallyDrop::new(link);
}

/// Removes a filter. That it is not there, or its interface, is no error.
fn remove(interface: &str, handle: TcHandle) -> Result<(), KernelError> {
    const CALL: &str = "RTM_DELTFILTER";
    let removed = attached(interface, handle).and_then(|link| match link.detach() {
        Err(ProgramError::NetlinkError(error)) => Err(refused(CALL, interface, error.into())),
        Err(error) => Err(failed(CALL, error)),
        Ok(()) => Ok(()),
    });
    match removed {
        // EINVAL: there is no `clsact`, and so no filter.
        Err(error) if error.is_one_of(&[libc::ENOENT, libc::EINVAL, libc::ENODEV, libc::ENXIO]) => {
            Ok(())
        }
        removed => removed,
    }
}

fn attached(interface: &str, handle: TcHandle) -> Result<SchedClassifierLink, KernelError> {
    SchedClassifierLink::attached(interface, TcAttachType::Egress, PRIORITY, handle, None)
        .map_err(|error| refused("if_nametoindex", interface, error.into()))
}

fn not_attached(interface: &str, error: ProgramError) -> KernelError {
    match error {
        ProgramError::TcError(error) => refused("RTM_NEWTFILTER", interface, error),
        error => failed("RTM_NEWTFILTER", error),
    }
}

fn no_hook(error: TcError) -> KernelError {
    KernelError::NoHook { hook: Hook::Forward, source: io_error(error) }
}

fn refused(call: &'static str, interface: &str, error: TcError) -> KernelError {
    let rights = mend(&error);
    let mend = if rights.is_empty() {
        "; `tc filter show dev INTERFACE egress` shows what is there: a filter of another tool at priority 1 must be of the kind bpf and for all protocols"
    } else {
        rights
    };
    let object = format!("the interface {interface}");
    KernelError::Syscall { call, object, mend, source: io_error(error) }
}

fn failed(
    call: &'static str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> KernelError {
    let object = "the node's interfaces".to_owned();
    KernelError::Syscall { call, object, mend: "", source: io::Error::other(error) }
}

fn errno(error: &TcError) -> Option<i32> {
    match error {
        TcError::NetlinkError(error) => error.raw_os_error(),
        TcError::IoError(error) => error.raw_os_error(),
        _ => None,
    }
}

/// Keeps what the kernel said beside its number.
fn io_error(error: TcError) -> io::Error {
    match error {
        TcError::IoError(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
