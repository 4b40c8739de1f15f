//! Upgrades that go wrong: the old agent goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use podrole_tests::agent::Agent;
use podrole_tests::cluster::Cluster;
use podrole_tests::process::{self, Finished};
use podrole_tests::wait::{self, PATIENCE};

use crate::load::{Load, pods};

/// How long an agent may take to finish what it has begun.
const GRACE: Duration = Duration::from_secs(15);

#[test]
fn wherever_a_new_agent_dies_the_old_one_goes_on() -> Result<()> {
    /// How far it gets.
    const REACHED: [&str; 4] = [
        "another agent serves",
        "pods are known",
        "on duty from here on",
        "the agent before this one is at rest",
    ];
    Cluster::with(|cluster| {
        let pods = pods(cluster, 3)?;
        let mut old = cluster.agent().start()?;
        let load = Load::begin(cluster, pods)?;
        for (round, reached) in REACHED.into_iter().enumerate() {
            let mut new = cluster.agent().spawn()?;
            new.wait_for_log(reached)?;
            new.kill()?;
            for pod in &load.pods {
                pod.wait_for_role(&pod.name)?;
            }
            let resumed = old.log()?.matches("on duty again").count();
            ensure!(resumed >= round.saturating_sub(1), "{resumed} times in round {round}");
        }
        // One that lives takes over all the same.
        let mut new = cluster.agent().spawn()?;
        new.wait_until_on_duty()?;
        old.terminate()?;
        ensure!(old.wait(GRACE)?.success());
        for pod in &load.pods {
            pod.wait_for_role(&pod.name)?;
        }
        let outcome = load.end()?;
        ensure!((outcome.wrong, outcome.leaked, outcome.sts) == (0, 0, 0), "{outcome}");
        Ok(())
    })
}

#[test]
fn a_new_agent_that_is_stopped_gives_the_duty_back_at_once() -> Result<()> {
    Cluster::with(|cluster| {
        let pods = pods(cluster, 3)?;
        let mut old = cluster.agent().start()?;
        let load = Load::begin(cluster, pods)?;
        for round in 1..=8 {
            let mut new = cluster.agent().spawn()?;
            new.wait_until_on_duty()?;
            new.terminate()?;
            ensure!(new.wait(GRACE)?.success());
            wait::until_true("the old agent on duty", || {
                Ok(old.log()?.matches("on duty again").count() == round)
            })?;
        }
        old.wait_until_ready()?;
        let outcome = load.end()?;
        ensure!((outcome.failed, outcome.wrong, outcome.leaked) == (0, 0, 0), "{outcome}");
        ensure!(outcome.sts == 0, "{outcome}");
        Ok(())
    })
}

#[test]
fn an_old_agent_that_hangs_is_told_of() -> Result<()> {
    Cluster::with(|cluster| {
        let pods = pods(cluster, 1)?;
        let mut old = cluster.agent().start()?;
        old.pause()?;
        let new = cluster.agent().run()?;
        let said = format!("{}{}", new.text(), new.stderr);
        ensure!(new.status.code() == Some(1) && said.contains("does not answer"), "{said}");
        old.resume()?;
        old.wait_until_ready()?;
        for pod in &pods {
            pod.wait_for_role(&pod.name)?;
        }
        Ok(())
    })
}

/// `podrole ready` in the container of an agent.
fn ready_beside(cluster: &Cluster, agent: &Agent) -> Result<Finished> {
    let mut command = cluster.node_place().command("nsenter")?;
    command.args(["--target", &agent.id().to_string(), "--mount"]);
    command.arg(podrole_tests::agent::binary()?).arg("ready").arg("--socket").arg(cluster.socket());
    process::run(&mut command, b"", PATIENCE)
}

#[test]
fn a_probe_asks_the_agent_of_its_own_container() -> Result<()> {
    const CONTAINER: [&str; 2] = ["unshare", "--mount"];
    Cluster::with(|cluster| {
        let pods = pods(cluster, 1)?;
        let old = cluster.agent().under(&CONTAINER).start()?;
        // The new one cannot learn who is who yet.
        cluster.kubernetes.fail()?;
        let mut new = cluster.agent().under(&CONTAINER).spawn()?;
        new.wait_for_log("another agent serves")?;
        wait::until_true("the new agent's own answer", || {
            Ok(ready_beside(cluster, &new)?.text().contains("not ready: "))
        })?;
        ensure!(ready_beside(cluster, &old)?.status.success());
        for pod in &pods {
            pod.wait_for_role(&pod.name)?;
        }
        cluster.kubernetes.recover()?;
        new.wait_until_on_duty()?;
        wait::until_true("the new agent", || Ok(ready_beside(cluster, &new)?.status.success()))?;
        // Its pod is not to fail its probe while it waits to be stopped.
        ensure!(ready_beside(cluster, &old)?.status.success());
        Ok(())
    })
}
