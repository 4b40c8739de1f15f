//! What follows from where the programs are: whether the agent is ready, and what it tells of them.

use tokio::sync::watch as channel;

use super::inspect::status::{ProgramState, ProgramStatus};
use crate::kernel::Standing;
use crate::operate::metrics::Metrics;
use crate::operate::readiness::{Latch, Readiness};

/// What `/readyz` says while programs that shall be on the node are somewhere else, or nowhere.
const MISPLACED: &str = "the eBPF programs, which are not where they belong";

/// Says, for ever, that the agent is not ready while the programs are not where they belong: somebody has
/// removed them, or the pods' cgroup is gone. In the mode `off` they belong nowhere.
pub(super) fn follow(
    mut standing: channel::Receiver<Standing>,
    readiness: Readiness,
    metrics: &Metrics,
) -> impl Future<Output = ()> + Send + use<> {
    let (wanted, attached) = (metrics.programs_wanted.clone(), metrics.programs_attached.clone());
    async move {
        let mut misplaced: Option<Latch> = None;
        // The keeper, who tells, ends with the agent alone.
        while standing.changed().await.is_ok() {
            let now = standing.borrow_and_update().clone();
            wanted.set(now.wanted.into());
            attached.set(now.holds().into());
            if now.wanted && !now.holds() {
                misplaced.get_or_insert_with(|| readiness.register(MISPLACED));
            } else if let Some(misplaced) = misplaced.take() {
                misplaced.done();
            }
        }
    }
}

/// Each program, and where it is.
pub(super) fn programs(standing: &Standing) -> Vec<ProgramStatus> {
    let Standing { wanted, cgroup, on_pods, forward, refusing } = standing;
    let absent = if *wanted { ProgramState::NotAttached } else { ProgramState::Off };
    let state = match (on_pods, refusing) {
        (true, false) => ProgramState::Attached,
        (true, true) => ProgramState::Refusing,
        (false, _) => absent,
    };
    let on_pods = Standing::ON_PODS.iter().map(|name| ProgramStatus {
        name: (*name).to_owned(),
        hook: "cgroup".to_owned(),
        on: vec![cgroup.clone()],
        state,
    });
    let forward = ProgramStatus {
        name: Standing::ON_INTERFACES.to_owned(),
        hook: forward.as_ref().map_or("none", |forward| forward.hook).to_owned(),
        on: forward.iter().flat_map(|forward| forward.interfaces.clone()).collect(),
        state: match forward {
            None => ProgramState::Missing,
            Some(forward) if forward.holds() => ProgramState::Attached,
            Some(_) => absent,
        },
    };
    on_pods.chain([forward]).collect()
}
