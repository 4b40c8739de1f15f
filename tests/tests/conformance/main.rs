//! The metadata protocol as pods get it, case by case, against the running agent: each row begins with the
//! number of its case, and `ids` holds the list of them all.
//!
//! Sources: the EC2 user guide, "Use the Instance Metadata Service to access instance metadata"; answers of
//! the real service as clients have recorded them; what the SDKs were seen to need.

mod elsewhere;
mod faults;
mod ids;
mod leaf;
mod node;
mod paths;
mod tokens;
mod transport;

use anyhow::Result;
use podrole_tests::agent::AgentBuilder;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::Request;
use podrole_tests::pod::Pod;

fn get(path: &str) -> Request {
    Request::get(path)
}

/// A node with an agent on it and three pods: `web` has the role `team/web`, `other` the role `other`,
/// `plain` none. None of their requests may reach the real service.
struct Scene<'c> {
    cluster: &'c Cluster,
    web: Pod<'c>,
    other: Pod<'c>,
    plain: Pod<'c>,
}

fn with_pods(test: impl FnOnce(&Scene<'_>) -> Result<()>) -> Result<()> {
    with_agent(|agent| agent, test)
}

/// The same with an agent of other settings.
fn with_agent(
    change: impl for<'c> FnOnce(AgentBuilder<'c>) -> AgentBuilder<'c>,
    test: impl FnOnce(&Scene<'_>) -> Result<()>,
) -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("team/web").start()?;
        let other = cluster.pod("other").role("other").start()?;
        let plain = cluster.pod("plain").start()?;
        assert!(web.node_credentials()?.is_some(), "without podrole");
        let _agent = change(cluster.agent()).start()?;
        let leaks = cluster.metadata.requests_of_pods()?;
        test(&Scene { cluster, web, other, plain })?;
        let now = cluster.metadata.requests_of_pods()?;
        assert_eq!(now, leaks, "requests reached the real service");
        Ok(())
    })
}
