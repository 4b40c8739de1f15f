//! Pods that ask all the time, by new connections and by kept ones, and what became of it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::clients::FEW;
use podrole_tests::cluster::Cluster;
use podrole_tests::hammer::{Hammer, Tally};
use podrole_tests::leaks::Leaks;
use podrole_tests::pod::Pod;
use podrole_tests::wait;
use tokio::time::Instant;

/// The pods, and all who ask in them.
pub(crate) struct Load<'c> {
    cluster: &'c Cluster,
    pub(crate) pods: Vec<Pod<'c>>,
    /// By a connection for each request.
    hammers: Vec<Hammer>,
    /// By one connection and one token, as long as they last.
    steady: Vec<Hammer>,
    leaks: Leaks,
    of_pods: usize,
    sts: usize,
    recovered: Vec<Duration>,
    /// By real clients.
    real: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    asked: u64,
    failed: u64,
    wrong: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) asked: u64,
    /// Answers that were none, or another status than 200.
    pub(crate) failed: u64,
    /// Answers with the role or the credentials of another.
    pub(crate) wrong: u64,
    /// Packets and requests that reached the real service.
    pub(crate) leaked: u64,
    /// Calls of STS.
    pub(crate) sts: usize,
    recovered: Vec<Duration>,
}

/// So many pods, each with a role of its own.
pub(crate) fn pods(cluster: &Cluster, count: usize) -> Result<Vec<Pod<'_>>> {
    let names: Vec<_> = (0..count).map(|number| format!("pod-{number}")).collect();
    let pods = names.iter().map(|name| cluster.pod(name).role(name).start());
    let pods = pods.collect::<Result<Vec<_>>>()?;
    ensure!(pods.iter().all(|pod| pod.node_credentials().is_ok_and(|it| it.is_some())), "without");
    Ok(pods)
}

impl<'c> Load<'c> {
    /// Begins, with an agent that serves all of them.
    pub(crate) fn begin(cluster: &'c Cluster, pods: Vec<Pod<'c>>) -> Result<Self> {
        for pod in &pods {
            pod.wait_for_role(&pod.name)?;
        }
        let hammers = pods.iter().map(|pod| cluster.hammer(pod, 1)).collect::<Result<_>>()?;
        let steady = pods.iter().map(|pod| cluster.steady(pod)).collect::<Result<_>>()?;
        let (leaks, of_pods) = (cluster.leaks()?, cluster.metadata.requests_of_pods()?);
        let sts = cluster.sts.requests()?.len();
        let (recovered, real) = (Vec::new(), Count::default());
        Ok(Self { cluster, pods, hammers, steady, leaks, of_pods, sts, recovered, real })
    }

    /// Lets a real client ask, another one each time.
    pub(crate) fn ask_by_real_client(&mut self, turn: usize) {
        let client = FEW.get(turn % FEW.len());
        let (Some(client), Some(pod)) = (client, self.pods.get(turn % self.pods.len())) else {
            return;
        };
        self.real.asked += 1;
        match pod.credentials_by(client) {
            Ok(Some(credentials)) => {
                let role = credentials.session().map(|session| session.role);
                if !role.is_ok_and(|role| role == role_arn(&pod.name)) {
                    self.real.wrong += 1;
                }
            }
            Ok(None) | Err(_) => self.real.failed += 1,
        }
    }

    /// Waits until each pod is served, and notes how long that took since `from`.
    pub(crate) fn wait_until_served(&mut self, from: Instant) -> Result<()> {
        for pod in &self.pods {
            wait::until_true(&format!("{} served", pod.name), || match pod.listed_role() {
                Ok(Some(role)) if role != pod.name => bail!("{} has {role}", pod.name),
                answer => Ok(matches!(answer, Ok(Some(_)))),
            })?;
        }
        self.recovered.push(from.elapsed());
        Ok(())
    }

    /// Ends it.
    pub(crate) fn end(self) -> Result<Outcome> {
        let mut outcome = Outcome {
            asked: self.real.asked,
            failed: self.real.failed,
            wrong: self.real.wrong,
            leaked: 0,
            sts: 0,
            recovered: self.recovered,
        };
        let names = self.pods.iter().map(|pod| pod.name.as_str());
        for (name, hammer) in names.zip(self.hammers) {
            let tally = hammer.finish()?;
            outcome.add(&tally, |answer| answer == name);
            ensure!(tally.served(name) > 0, "{name} was never served: {tally:?}");
        }
        for (pod, hammer) in self.pods.iter().zip(self.steady) {
            let tally = hammer.finish()?;
            let arn = role_arn(&pod.name);
            outcome.add(&tally, |answer| answer == arn);
            ensure!(tally.served(&arn) > 0, "{} was never served: {tally:?}", pod.name);
        }
        if let Some(pod) = self.pods.first() {
            outcome.leaked += u64::try_from(self.leaks.seen(pod)?.len())?;
        }
        let of_pods = self.cluster.metadata.requests_of_pods()?;
        outcome.leaked += u64::try_from(of_pods.saturating_sub(self.of_pods))?;
        outcome.sts = self.cluster.sts.requests()?.len() - self.sts;
        println!("{outcome}");
        Ok(outcome)
    }
}

impl Outcome {
    fn add(&mut self, tally: &Tally, is_right: impl Fn(&str) -> bool) {
        for (got, times) in tally.all() {
            self.asked += times;
            match got.strip_prefix("200 ") {
                Some(answer) if is_right(answer) => {}
                Some(answer) => {
                    println!("wrong, {times} times: {answer}");
                    self.wrong += times;
                }
                None => {
                    println!("failed, {times} times: {got}");
                    self.failed += times;
                }
            }
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { asked, failed, wrong, leaked, sts, recovered } = self;
        let mut recovered = recovered.clone();
        recovered.sort();
        let [median, longest] = [recovered.len() / 2, recovered.len().saturating_sub(1)]
            .map(|at| recovered.get(at).copied().unwrap_or_default().as_millis());
        write!(
            f,
            "asked {asked}, failed {failed}, wrong {wrong}, leaked {leaked}, calls of STS {sts}, \
             ms to recover: median {median}, longest {longest}"
        )
    }
}
