//! One fresh list beside the watch, for whoever waits for a pod that the watch has not told of yet. A
//! UID cannot be selected, so it is all of this node's pods.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use kube::Api;
use kube::api::{ListParams, ObjectList};
use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::report::Chain;

use super::{Kept, Watched, trim};
use crate::callers::fresh::Fresh;
use crate::callers::pods::{Event, Index, Pod, PodUid};

/// Between the beginnings of two lists.
const EVERY: Duration = Duration::from_secs(1);
/// For the answer. Who waited for it is long gone by then.
const DEADLINE: Duration = Duration::from_secs(5);

type Answer = Pin<Box<dyn Future<Output = Option<ObjectList<Watched>>> + Send>>;

/// Lists when asked, at most once in a while.
pub(super) struct Lister {
    api: Api<Watched>,
    parameters: ListParams,
    fresh: Fresh,
    last: Option<Instant>,
    asked: Option<Asked>,
}

/// A list that is under way.
struct Asked {
    answer: Answer,
    /// The pods that were known when it was asked for.
    known: HashSet<PodUid>,
    /// Those that the watch has told of since: whatever it said goes for them.
    told: HashSet<PodUid>,
    /// The watch has given a whole list since.
    is_moot: bool,
}

impl Lister {
    pub(super) fn new(api: Api<Watched>, of_node: &str, fresh: Fresh) -> Self {
        let parameters = ListParams::default().fields(of_node);
        Self { api, parameters, fresh, last: None, asked: None }
    }

    /// Waits for the wish for a list and then for the list. Nothing is lost if this is dropped and
    /// called again.
    pub(super) async fn next(&mut self, index: &channel::Sender<Index>, kept: &Kept) -> Event {
        loop {
            if let Some(asked) = &mut self.asked {
                let answer = asked.answer.as_mut().await;
                let asked = self.asked.take();
                if let (Some(answer), Some(asked)) = (answer, asked)
                    && !asked.is_moot
                {
                    let pods = answer.items.into_iter().filter_map(|pod| trim(pod, kept));
                    return asked.event(pods.collect());
                }
                continue;
            }
            if let Some(last) = self.last {
                sleep_until(last + EVERY).await;
            }
            self.fresh.asked().await;
            self.last = Some(Instant::now());
            self.asked = Some(Asked {
                answer: self.ask(),
                known: index.borrow().uids().cloned().collect(),
                told: HashSet::new(),
                is_moot: false,
            });
        }
    }

    /// Takes notice of what the watch says while a list is under way.
    pub(super) fn is_overtaken_by(&mut self, event: &Event) {
        let Some(asked) = &mut self.asked else { return };
        match event {
            Event::Listed(_) => asked.is_moot = true,
            Event::Applied(pod) => {
                asked.told.insert(pod.uid.clone());
            }
            Event::Deleted(uid) => {
                asked.told.insert(uid.clone());
            }
            Event::Several(events) => events.iter().for_each(|event| self.is_overtaken_by(event)),
        }
    }

    fn ask(&self) -> Answer {
        debug!("a pod asks that the watch has not told of; listing this node's pods");
        let (api, parameters) = (self.api.clone(), self.parameters.clone());
        Box::pin(async move {
            match timeout(DEADLINE, api.list(&parameters)).await {
                Ok(Ok(pods)) => Some(pods),
                Ok(Err(error)) => {
                    debug!(error = %Chain(&error), "this node's pods cannot be listed");
                    None
                }
                Err(_) => {
                    debug!("this node's pods cannot be listed: no answer");
                    None
                }
            }
        })
    }
}

impl Asked {
    /// What the list adds to what the watch has told: first who is gone, since an address may have
    /// gone from one of them to a new pod.
    fn event(self, pods: Vec<Pod>) -> Event {
        let Self { known, told, .. } = self;
        let listed: HashSet<PodUid> = pods.iter().map(|pod| pod.uid.clone()).collect();
        let gone = known.into_iter().filter(|uid| !listed.contains(uid) && !told.contains(uid));
        let gone = gone.map(Event::Deleted).collect::<Vec<_>>();
        let there = pods.into_iter().filter(|pod| !told.contains(&pod.uid));
        Event::Several(gone.into_iter().chain(there.map(Event::Applied)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(known: &[&str], told: &[&str]) -> Asked {
        let uids = |uids: &[&str]| uids.iter().map(|uid| PodUid::new(uid)).collect();
        let (known, told) = (uids(known), uids(told));
        Asked { answer: Box::pin(async { None }), known, told, is_moot: false }
    }

    fn apply(index: &mut Index, event: Event) {
        index.apply(event);
    }

    fn uids(index: &Index) -> Vec<String> {
        let mut uids: Vec<_> = index.uids().map(ToString::to_string).collect();
        uids.sort();
        uids
    }

    #[test]
    fn a_list_tells_who_is_new_and_who_is_gone() {
        let mut index = Index::default();
        apply(&mut index, Event::Applied(Pod::fixture("old", &["10.0.1.11"])));
        let event = asked(&["old"], &[]).event(vec![Pod::fixture("new", &["10.0.1.11"])]);
        apply(&mut index, event);
        assert_eq!(uids(&index), ["new"]);
        assert_eq!(index.owner("10.0.1.11".parse().unwrap()).unwrap().uid.as_str(), "new");
    }

    #[test]
    fn what_the_watch_said_since_goes_before_the_list() {
        let mut index = Index::default();
        for uid in ["kept", "added"] {
            apply(&mut index, Event::Applied(Pod::fixture(uid, &[])));
        }
        // Asked before `added` came and `ended` went; the list is of a moment in between.
        let event = asked(&["kept", "ended"], &["added", "ended"])
            .event(vec![Pod::fixture("kept", &[]), Pod::fixture("ended", &[])]);
        apply(&mut index, event);
        assert_eq!(uids(&index), ["added", "kept"]);
    }
}
