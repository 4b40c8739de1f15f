//! Tells of pods whose connections to the metadata service do not arrive: in the log, and by an Event on
//! the pod.

use tracing::warn;

use crate::callers::Callers;
use crate::kernel::NoArrival;
use crate::operate::events::{Events, Reason};

/// What may be in between.
const CAUSES: &str = "a NetworkPolicy, a hostPort or a Service's externalIPs may take port 16925";

/// Tells, for ever.
pub(super) async fn tell(callers: Callers, lost: NoArrival, events: Events) {
    callers
        .follow_lost(lost, |unreachable| match unreachable {
            Ok((pod, unreachable)) => {
                let connections = unreachable.connections;
                let mend = format!("`podrole check --pod {pod}` on its node says where they stop");
                warn!(%pod, uid = %pod.uid, connections, "connections to the proxy did not arrive; {CAUSES}; {mend}");
                let note = format!(
                    "{connections} connections of this pod to the metadata service were sent to podrole and did not arrive there within 2 s: {CAUSES}; {mend}"
                );
                events.tell(pod.object(), Reason::MetadataUnreachable, note);
            }
            Err((lost, why)) => {
                let (cgroup, connections) = (lost.cgroup.0, lost.connections);
                warn!(cgroup, connections, whose = %why, "connections to the proxy did not arrive; {CAUSES}");
            }
        })
        .await;
}
