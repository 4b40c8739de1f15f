//! Pods are born, ask and die, for a long time: the agent's memory and descriptors do not grow. All of it:
//! `PODROLE_SOAK_SVG=$PWD/docs/soak.svg cargo xtask test -- two_thousand_pods --ignored --nocapture`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent::Agent;
use podrole_tests::cluster::Cluster;
use podrole_tests::pod;
use podrole_tests::wait;

/// Pods that live at a time.
const AT_ONCE: usize = 10;
/// Of the growth from the first fifth of the pods to the last, in percent of what was.
const GROWTH_MAX: u64 = 20;

/// What the agent had after so many pods.
#[derive(Clone, Copy, Debug)]
struct Sample {
    requests: u64,
    /// Resident memory, in KiB.
    memory: u64,
    descriptors: u64,
}

fn sample(agent: &Agent, requests: u64) -> Result<Sample> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|it| it.split_whitespace().next()).context("VmRSS")?.parse()?;
    let descriptors = fs::read_dir(format!("/proc/{}/fd", agent.id()))?.count();
    Ok(Sample { requests, memory, descriptors: descriptors.try_into()? })
}

/// Lets so many pods live, each asking so often.
fn soak(pods: usize, each: u32) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    Cluster::with(|cluster| {
        let agent = cluster.agent().set("--pod-rps", "1000000").start()?;
        let mut requests = 0;
        // As a CNI does, pods are given the addresses of those that are gone.
        let mut addresses = Vec::new();
        for first in (0..pods).step_by(AT_ONCE) {
            let numbers = first..pods.min(first + AT_ONCE);
            let mut free = addresses.into_iter();
            let builders = numbers.map(|number| {
                let name = format!("pod{number}");
                let pod = cluster.pod(&name).role(&name);
                match free.next() {
                    Some(address) => pod.address(address),
                    None => pod,
                }
            });
            let alive = pod::start_all(builders.collect())?;
            addresses = alive.iter().filter_map(pod::Pod::address).collect();
            let asking = alive.iter().map(|pod| pod.ask_often(each)).collect::<Result<Vec<_>>>()?;
            asking.into_iter().try_for_each(podrole_tests::soak::Asking::finish)?;
            requests += u64::from(each) * u64::try_from(alive.len())?;
            samples.push(sample(&agent, requests)?);
            alive.into_iter().try_for_each(pod::Pod::delete)?;
        }
        // Sessions and identities have died with their pods.
        wait::until_true("no pods", || {
            let status = cluster.ask(&["status", "--output", "json"])?.ok()?;
            let status: serde_json::Value = serde_json::from_str(&status)?;
            Ok(status["pods"].as_array().is_some_and(Vec::is_empty))
        })
    })?;
    Ok(samples)
}

/// What is usual among them: the median.
fn usual(samples: &[Sample], of: fn(&Sample) -> u64) -> u64 {
    let mut all: Vec<_> = samples.iter().map(of).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn ensure_flat(samples: &[Sample]) -> Result<()> {
    let fifth = samples.len() / 5;
    let (first, last) = (&samples[fifth..2 * fifth], &samples[samples.len() - fifth..]);
    for (what, of) in [
        ("memory (KiB)", (|it| it.memory) as fn(&Sample) -> u64),
        ("descriptors", |it| it.descriptors),
    ] {
        let (before, after) = (usual(first, of), usual(last, of));
        println!("{what}: {before} in the second fifth, {after} in the last");
        ensure!(after <= before + before * GROWTH_MAX / 100, "{what} grew: {before}, {after}");
    }
    Ok(())
}

#[test]
fn forty_pods_leave_nothing_behind() -> Result<()> {
    let samples = soak(40, 250)?;
    ensure!(samples.last().is_some_and(|it| it.requests == 10_000), "{samples:?}");
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    ensure!(last.descriptors <= first.descriptors + 5, "{samples:?}");
    Ok(())
}

#[test]
#[ignore = "an hour or more"]
fn two_thousand_pods_leave_nothing_behind() -> Result<()> {
    let each = std::env::var("PODROLE_SOAK_EACH").ok().map_or(Ok(5_000), |each| each.parse())?;
    let samples = soak(2_000, each)?;
    if let Some(path) = std::env::var_os("PODROLE_SOAK_SVG") {
        fs::write(path, plot(&samples))?;
    }
    ensure_flat(&samples)
}

/// Both curves over the requests, as SVG.
fn plot(samples: &[Sample]) -> String {
    const SIZE: (f64, f64) = (800.0, 300.0);
    let requests = samples.last().map_or(1, |it| it.requests);
    let curve = |color: &str, of: fn(&Sample) -> u64| {
        let most = samples.iter().map(of).max().unwrap_or(1).max(1);
        #[expect(clippy::cast_precision_loss, reason = "it is drawn")]
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        let points = samples.iter().map(|it| {
            let (x, y) = (share(it.requests, requests), share(of(it), most) / 1.1);
            format!("{:.1},{:.1}", 60.0 + SIZE.0 * x, 20.0 + SIZE.1 * (1.0 - y))
        });
        let points = points.collect::<Vec<_>>().join(" ");
        (most, format!("<polyline fill='none' stroke='{color}' points='{points}'/>"))
    };
    let (memory, memory_curve) = curve("#c33", |it| it.memory);
    let (descriptors, descriptors_curve) = curve("#36c", |it| it.descriptors);
    let pods = samples.len() * AT_ONCE;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 900 380' font-family='sans-serif' \
         font-size='14'>\
         <rect width='900' height='380' fill='white'/>\
         <path d='M60 20V320H860' fill='none' stroke='#888'/>{memory_curve}{descriptors_curve}\
         <text x='60' y='345'>0</text><text x='860' y='345' text-anchor='end'>{requests} requests of \
         {pods} pods, {AT_ONCE} at a time</text>\
         <text x='60' y='368' fill='#c33'>resident memory of the agent, at most {memory} KiB</text>\
         <text x='860' y='368' fill='#36c' text-anchor='end'>open descriptors, at most \
         {descriptors}</text></svg>\n"
    )
}
