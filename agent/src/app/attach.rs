//! `podrole attach`: the programs without an agent. Until one comes, nobody listens where they send
//! pods to, so pods are refused.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use super::node::{self, Node};
use super::{Error, listen};
use crate::kernel::interfaces::Watch;
use crate::kernel::{ForwardGuard, KernelError, PinDirectory, PodCgroup};
use crate::operate::duty::Duty;
use crate::operate::shutdown::Signals;
use crate::settings::{AttachSettings, KernelSettings, Listen};

/// How often is looked whether kubelet has made the pods' cgroup.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Attaches and pins the programs. Where the pods' cgroup is not there, only the forward guard; and
/// then the rest too as soon as it is, if that is to be waited for. A signal ends the wait.
///
/// # Errors
/// What the kernel refused, or what is wrong with the node.
pub async fn attach(settings: &AttachSettings, mut signals: Signals) -> Result<(), Error> {
    tokio::select! {
        attached = until_attached(settings) => attached,
        signal = signals.wait() => {
            info!(signal, "ending; what is attached stays");
            Ok(())
        }
    }
}

async fn until_attached(settings: &AttachSettings) -> Result<(), Error> {
    let AttachSettings { kernel, wait, log: _ } = settings;
    let listen = if *wait {
        listen::once_there(kernel.listen).await
    } else {
        listen::or_primary(kernel.listen)?
    };
    PinDirectory::is_only(&kernel.bpf_fs)?;
    loop {
        let Some(cgroup) = PodCgroup::find(kernel.pod_cgroup.as_deref())? else {
            guard_alone(kernel, listen, *wait).await?;
            if *wait {
                continue;
            }
            return Ok(());
        };
        if attach_to(kernel, listen, cgroup).await? {
            return Ok(());
        }
        warn!("the pods' cgroup was removed while the programs were being attached; once more");
        sleep(LOOK_EVERY).await;
    }
}

/// Attaches all programs; false where the cgroup is another by now.
async fn attach_to(
    settings: &KernelSettings,
    listen: Listen,
    cgroup: PodCgroup,
) -> Result<bool, Error> {
    let Node { mut keeper, netlink, .. } = Node::load(settings, listen, cgroup, &Duty::always())?;
    match beside(netlink, keeper.attach()).await {
        Ok(()) if keeper.is_settled() => {
            info!("pods are refused until an agent runs");
            Ok(true)
        }
        Ok(()) => Ok(false),
        Err(error) if error.is_of_gone_cgroup() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Puts up the forward guard, which needs no cgroup, and if `wait`, keeps it on every interface until
/// the pods' cgroup is there.
async fn guard_alone(settings: &KernelSettings, listen: Listen, wait: bool) -> Result<(), Error> {
    let hooks = node::hooks(settings);
    let pins = PinDirectory::create(&settings.bpf_fs)?;
    let (mut interfaces, netlink) = Watch::new(settings.interfaces.clone())?;
    let mut forward = ForwardGuard::load(&node::rules(settings, listen)?, hooks, pins)?;
    let guard = async {
        forward.follow(&interfaces, true).await?;
        forward.keep();
        let until =
            if wait { "until it is" } else { "until `podrole attach` or an agent runs again" };
        info!("the pods' cgroup is not there yet; the forward guard stands alone {until}");
        while wait && PodCgroup::find(settings.pod_cgroup.as_deref())?.is_none() {
            tokio::select! {
                () = interfaces.changed() => forward.follow(&interfaces, false).await?,
                () = sleep(LOOK_EVERY) => {}
            }
        }
        Ok(())
    };
    Ok(beside(netlink, guard).await?)
}

/// Works while the connection to the kernel is kept up.
async fn beside<T>(
    netlink: impl Future<Output = ()>,
    work: impl Future<Output = Result<T, KernelError>>,
) -> Result<T, KernelError> {
    tokio::select! {
        done = work => done,
        () = netlink => Err(KernelError::NetlinkClosed),
    }
}
