//! Every client that can be had, in a pod of its own with a role of its own: without podrole, with it, and
//! where `IMDSv1` is denied. What they did is the table of `docs/clients.md`.

use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::clients::{self, Client, Credentials, Speaks};
use podrole_tests::cluster::Cluster;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::node::{LEAK_MARKER, REGION};

mod table;

use table::Row;

/// Enough to keep two processors busy with runtimes that start.
const AT_ONCE: usize = 3;

/// A client and the pod it runs in.
struct Place<'c> {
    client: &'static Client,
    pod: Pod<'c>,
}

type Found<'p, 'c> = (&'p Place<'c>, Option<Credentials>);

/// Lets each client look once.
fn ask<'p, 'c>(places: &'p [Place<'c>]) -> Result<Vec<Found<'p, 'c>>> {
    let waiting = Mutex::new(places.iter());
    let next = || waiting.lock().ok()?.next();
    let work = || {
        let mut found = Vec::new();
        while let Some(place) = next() {
            let credentials = place.pod.credentials_and_region_by(place.client);
            found.push((place, credentials.with_context(|| place.client.name)?));
        }
        Ok(found)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let results = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| anyhow!("a thread panicked"))?);
        Ok(results.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

fn assert_own(Place { client, pod }: &Place<'_>, found: Option<&Credentials>) -> Result<()> {
    let found = found.with_context(|| format!("{} found nothing", client.name))?;
    let session = found.session().with_context(|| client.name)?;
    assert_eq!(session.role, role_arn(client.id), "{}", client.name);
    assert_eq!(session.session, format!("default@{}", pod.name), "{}", client.name);
    Ok(())
}

fn assert_region(client: &Client, found: &Credentials) {
    let region = client.region.then_some(REGION);
    assert_eq!(found.region.as_deref(), region, "the region by {}", client.name);
}

/// The node's own credentials, region and all; with what was asked for.
fn without_podrole(cluster: &Cluster, places: &[Place<'_>]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (Place { client, pod }, found) in ask(places)? {
        let found = found.with_context(|| format!("{} found nothing", client.name))?;
        ensure!(found.token.contains(LEAK_MARKER), "{} found {}", client.name, found.token);
        assert_region(client, &found);
        let own = pod.address().context("a pod has addresses")?;
        let mut requests = cluster.metadata.requests()?;
        requests.retain(|entry| [own.v4().into(), own.v6().into()].contains(&entry.peer.ip()));
        rows.push(Row::new(client, client.version(&found)?, &requests));
    }
    rows.sort_by_key(|row| clients::ALL.iter().position(|client| client.id == row.client.id));
    Ok(rows)
}

fn row<'r>(rows: &'r mut [Row], place: &Place<'_>) -> Result<&'r mut Row> {
    rows.iter_mut().find(|row| row.client.id == place.client.id).context(place.client.name)
}

fn with_podrole(places: &[Place<'_>], rows: &mut [Row]) -> Result<()> {
    for (place, found) in ask(places)? {
        assert_own(place, found.as_ref())?;
        let found = found.context(place.client.name)?;
        assert_region(place.client, &found);
        row(rows, place)?.took_ms = found.took_ms;
    }
    Ok(())
}

/// Clients without `IMDSv2` find nothing, and say so as they should.
fn with_tokens_required(places: &[Place<'_>]) -> Result<()> {
    for (place, found) in ask(places)? {
        match place.client.speaks {
            Speaks::V1 => assert_eq!(found, None, "{}", place.client.name),
            Speaks::V2 | Speaks::Both => {
                assert_own(place, found.as_ref())?;
                assert_region(place.client, &found.context(place.client.name)?);
            }
        }
    }
    Ok(())
}

#[test]
fn every_client_finds_its_pods_role_and_region() -> Result<()> {
    Cluster::with(|cluster| {
        let installed = clients::ALL.into_iter().filter(|client| client.is_installed());
        let place = |client: &'static Client| {
            let pod = cluster.pod(&format!("pod-of-{}", client.id)).role(client.id).start()?;
            Ok(Place { client, pod })
        };
        let places = installed.map(place).collect::<Result<Vec<_>>>()?;
        let mut rows = without_podrole(cluster, &places)?;
        let leaks = cluster.metadata.requests_of_pods()?;

        let agent = cluster.agent().start()?;
        with_podrole(&places, &mut rows)?;
        agent.kill()?;
        let _strict = cluster.agent().set("--imds-v1", "deny").start()?;
        with_tokens_required(&places)?;
        assert_eq!(cluster.metadata.requests_of_pods()?, leaks);
        table::write_or_compare(&rows)
    })
}
