//! Whatever fails around the agent, pods that have their credentials keep them, nobody gets another's, and
//! nothing reaches the node's: a steady load of real clients through each failure, as a table.
//!
//! With twenty pods: `cargo xtask test -- failures --ignored --nocapture`.

mod around;
mod node;
mod table;

use anyhow::Result;
use podrole_tests::cluster::Cluster;
use podrole_tests::pod::{self, Pod};

use self::table::{Row, Size};

/// A failure, from its beginning to its end; what the load saw of it.
type Scenario = fn(&Cluster, &Size) -> Result<Vec<Row>>;

const SCENARIOS: [Scenario; 10] = [
    around::sts_away,
    around::api_server,
    around::metadata_service_away,
    around::clock_stepped,
    node::disk_full,
    node::descriptors_exhausted,
    node::bpf_fs_unmounted,
    node::bpf_fs_covered,
    node::cgroup_made_anew,
    node::rebooted,
];

/// Pods whose roles bear their names.
fn pods<'c>(cluster: &'c Cluster, prefix: &str, size: &Size) -> Result<Vec<Pod<'c>>> {
    let named = (0..size.pods).map(|number| {
        let name = format!("{prefix}{number}");
        cluster.pod(&name).role(&name)
    });
    pod::start_all(named.collect())
}

fn all(size: &Size) -> Result<()> {
    let mut rows = Vec::new();
    for scenario in SCENARIOS {
        Cluster::with(|cluster| {
            rows.extend(scenario(cluster, size)?);
            Ok(())
        })?;
    }
    println!("{}", table::table(&rows));
    rows.iter().try_for_each(Row::ensure)
}

#[test]
fn no_failure_shows_pods_anything_that_is_not_theirs() -> Result<()> {
    all(&Size { pods: 2, tries: 6 })
}

#[test]
#[ignore = "some minutes"]
fn the_same_with_twenty_pods() -> Result<()> {
    all(&Size { pods: 20, tries: 40 })
}
