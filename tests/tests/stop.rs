//! An agent that is told to end finishes what it has begun, and leaves the redirect in place.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{LIST, METADATA};
use podrole_tests::pretend::sts::behaviour::Way;

/// Far less than kubelet's 30 seconds before it kills.
const GRACE: Duration = Duration::from_secs(15);

#[test]
fn an_open_request_is_finished_and_the_redirect_stays() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        // Well within the 900 ms that a pod waits, however busy the machine is.
        cluster.sts.behave("web", Way::Normal, Duration::from_millis(250))?;
        // Not fetched ahead: the one request at STS is that of the pod's open one.
        let mut agent = cluster.agent().set("--prefetch", "off").start()?;
        let leaks = cluster.metadata.requests_of_pods()?;
        let answer = thread::scope(|scope| {
            let open = scope.spawn(|| pod.get(&format!("{LIST}web")));
            cluster.sts.wait_for_request("web")?;
            agent.terminate()?;
            open.join().map_err(|_| anyhow!("the request's thread panicked"))?
        })?;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(agent.wait(GRACE)?.code(), Some(0));
        assert!(pod.is_refused(METADATA)?);
        assert_eq!(cluster.metadata.requests_of_pods()?, leaks);
        Ok(())
    })
}

#[test]
fn an_idle_connection_does_not_keep_the_agent() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let mut agent = cluster.agent().start()?;
        let answers = thread::scope(|scope| {
            // Answered, and kept open by a client that has nothing more to ask.
            let request = format!("GET {LIST} HTTP/1.1\r\nHost: x\r\n\r\n");
            let idle = scope.spawn(move || pod.tcp(METADATA, request.as_bytes()));
            agent.wait_for_open_connection()?;
            agent.terminate()?;
            assert_eq!(agent.wait(GRACE)?.code(), Some(0));
            idle.join().map_err(|_| anyhow!("the connection's thread panicked"))?
        })?;
        assert_eq!(answers.failure, None, "the end of the connection must be an orderly one");
        Ok(())
    })
}
