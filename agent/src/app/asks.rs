//! Gathers what pods in audit ask the real metadata service for, and keeps it in a file that outlives the
//! agent.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::warn;

use crate::callers::{Callers, Unidentified};
use crate::clock::Clock;
use crate::kernel::{CgroupId, RequestLines};
use crate::metadata::asks::{Ask, Asks, Counts, Who};
use crate::operate::state_file::StateFile;
use crate::report::Chain;

/// Lines whose pod the API server has not told of yet.
const WAITING: usize = 1024;
/// How long they wait for that.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks at them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The file in `--state-dir`.
const FILE: &str = "asked.json";
const VERSION: u32 = 1;
/// How long counts are gathered before they are written.
const WRITE_EVERY: Duration = Duration::from_secs(10);

struct Line {
    cgroup: CgroupId,
    ask: Ask,
    at: Instant,
}

/// Gathers, for ever.
pub(super) async fn gather(lines: RequestLines, callers: Callers, asks: Asks, clock: Clock) {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let hand_on = lines.run(|cgroup, line| {
        if let Some(ask) = Ask::of(line) {
            // What finds no room is not told.
            let _ = sender.try_send(Line { cgroup, ask, at: Instant::now() });
        }
    });
    let attribute = async {
        let mut waiting = VecDeque::new();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due: Vec<Line> = tokio::select! {
                Some(line) = receiver.recv() => vec![line],
                _ = look.tick() => waiting.drain(..).collect(),
            };
            for line in due {
                match callers.owner_of(line.cgroup) {
                    Ok(pod) => asks.note(Who::of(&pod), line.ask, clock.now()),
                    Err(Unidentified::Unknown | Unidentified::Ambiguous)
                        if line.at.elapsed() < TOLD_WITHIN && waiting.len() < WAITING =>
                    {
                        waiting.push_back(line);
                    }
                    Err(_) => {}
                }
            }
        }
    };
    tokio::select! {
        ended = hand_on => if let Err(error) = ended {
            warn!(error = %Chain(&error), "what pods in audit ask for cannot be read");
        },
        () = attribute => {}
    }
    std::future::pending::<()>().await;
}

#[derive(Serialize, Deserialize)]
struct Saved {
    workloads: Vec<SavedWorkload>,
}

#[derive(Serialize, Deserialize)]
struct SavedWorkload {
    #[serde(flatten)]
    who: Who,
    asked: Counts,
}

/// Takes up what an earlier agent counted, and writes the counts whenever they have changed, for ever.
pub(super) fn keep(
    asks: Asks,
    state_dir: &Path,
    node: &str,
    clock: &Clock,
) -> impl Future<Output = ()> + use<> {
    let file = StateFile::new(state_dir, FILE, VERSION, node, Vec::new());
    match file.read::<Saved>() {
        Ok(saved) => asks.restore(read(saved), clock.now()),
        Err(error) => {
            warn!(error = %Chain(&error), "what an earlier agent saw pods ask for is not used");
        }
    }
    async move {
        let mut written = asks.all();
        let mut is_failing = false;
        loop {
            sleep(WRITE_EVERY).await;
            let all = asks.all();
            if all == written {
                continue;
            }
            let (to, saved) = (file.clone(), Saved::of(all.clone()));
            match spawn_blocking(move || to.replace(&saved)).await {
                Ok(Ok(())) => (written, is_failing) = (all, false),
                Ok(Err(error)) if !std::mem::replace(&mut is_failing, true) => {
                    warn!(error = %Chain(&error), "what pods ask for would not survive a restart; trying again");
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

fn read(saved: Option<Saved>) -> BTreeMap<Who, Counts> {
    let workloads = saved.map(|saved| saved.workloads).unwrap_or_default().into_iter();
    workloads.map(|SavedWorkload { who, asked }| (who, asked)).collect()
}

impl Saved {
    fn of(counts: BTreeMap<Who, Counts>) -> Self {
        let workloads = counts.into_iter().map(|(who, asked)| SavedWorkload { who, asked });
        Self { workloads: workloads.collect() }
    }
}
