//! The demo: three pods on one node, real AWS clients in them, first without podrole and then with it.

use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use podrole_tests::aws::role_arn;
use podrole_tests::clients::{self, Client, Credentials};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::node;
use podrole_tests::wait;
use tokio::signal::unix::{SignalKind, signal};

/// Shows podrole at work on a pretend node of this machine.
#[derive(Parser)]
struct Flags {
    /// The podrole binary.
    #[arg(long)]
    agent: PathBuf,
    /// Leave everything up until Ctrl-C or Enter, and say how to look at it.
    #[arg(long)]
    keep: bool,
}

/// A pod of the demo: its name, its client, and the role it asks for.
struct Act {
    name: &'static str,
    client: &'static Client,
    role: Option<&'static str>,
}

const ACTS: [Act; 3] = [
    Act { name: "web", client: &clients::BOTO3, role: Some("web") },
    Act { name: "batch", client: &clients::JAVASCRIPT2, role: Some("batch") },
    Act { name: "legacy", client: &clients::BOTO2, role: None },
];

/// A line of the table.
struct Row {
    pod: String,
    client: &'static str,
    asked: String,
    given: Given,
    without: Given,
    took_ms: Option<u64>,
    is_as_promised: bool,
}

/// Whose credentials a client got.
#[derive(PartialEq, Eq)]
enum Given {
    Nothing,
    Node,
    Session { role: String, session: String },
}

fn main() -> Result<ExitCode> {
    let flags = Flags::parse();
    let (sender, end) = mpsc::channel();
    watch_signals(sender.clone());
    let cluster = Cluster::start().context("the pretend node could not be started")?;
    let outcome = run(&flags, &cluster, &sender, &end);
    wait::finish();
    if outcome.is_err() && !wait::was_interrupted() {
        cluster.show_logs();
    }
    drop(cluster);
    if outcome.is_err() && wait::was_interrupted() {
        eprintln!("interrupted; everything is cleaned up");
        return Ok(ExitCode::from(130));
    }
    let is_as_promised = outcome?;
    Ok(if is_as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(flags: &Flags, cluster: &Cluster, sender: &Sender<()>, end: &Receiver<()>) -> Result<bool> {
    println!(
        "One node, three pods, real AWS clients; STS, EC2 and the Kubernetes API are pretended."
    );
    let mut pods = Vec::new();
    for act in &ACTS {
        let pod = cluster.pod(act.name).namespace("demo");
        let pod = if let Some(role) = act.role { pod.role(role) } else { pod };
        pods.push(pod.start().with_context(|| format!("pod {}", act.name))?);
    }
    println!("  asking for credentials in each pod, without podrole");
    let without = ask_all(&pods)?;
    println!("  starting podrole on the node");
    let _agent = cluster.agent().binary(flags.agent.clone()).start()?;
    println!("  asking again: the same pods, the same clients, nothing in them changed\n");
    let with = ask_all(&pods)?;
    let rows = ACTS.iter().zip(pods.iter().zip(without.into_iter().zip(with)));
    let rows: Result<Vec<Row>> =
        rows.map(|(act, (pod, (before, after)))| row(act, pod, before, after)).collect();
    let rows = rows?;
    print_table(&rows);
    let is_as_promised = rows.iter().all(|row| row.is_as_promised);
    println!("\n{}", conclusion(is_as_promised));
    if flags.keep {
        explain(flags, cluster, &pods);
        wait_for_the_end(sender, end);
    }
    Ok(is_as_promised)
}

/// Runs every pod's client, all at the same time.
fn ask_all(pods: &[Pod<'_>]) -> Result<Vec<Option<Credentials>>> {
    thread::scope(|scope| {
        let ask = |(pod, act): (&'_ Pod<'_>, &Act)| {
            let found = pod.credentials_by(act.client);
            found.with_context(|| format!("{} in pod {}", act.client.name, act.name))
        };
        let running: Vec<_> =
            pods.iter().zip(&ACTS).map(|pair| scope.spawn(move || ask(pair))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<_>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a client's thread panicked"))?
        };
        running.into_iter().map(join).collect()
    })
}

fn row(
    act: &Act,
    pod: &Pod<'_>,
    before: Option<Credentials>,
    after: Option<Credentials>,
) -> Result<Row> {
    let took_ms = after.as_ref().map(|credentials| credentials.took_ms);
    let (without, given) = (given(before)?, given(after)?);
    let promised = match act.role {
        None => Given::Nothing,
        Some(role) => Given::Session {
            role: role_arn(role),
            session: format!("{}@{}", pod.namespace, pod.name),
        },
    };
    Ok(Row {
        pod: format!("{}/{}", pod.namespace, pod.name),
        client: act.client.name,
        asked: act.role.unwrap_or("-").to_owned(),
        is_as_promised: given == promised && without == Given::Node,
        given,
        without,
        took_ms,
    })
}

fn given(credentials: Option<Credentials>) -> Result<Given> {
    let Some(credentials) = credentials else { return Ok(Given::Nothing) };
    if credentials.token.contains(node::LEAK_MARKER) {
        return Ok(Given::Node);
    }
    let session = credentials.session()?;
    Ok(Given::Session { role: session.role, session: session.session })
}

impl Given {
    fn text(&self) -> String {
        match self {
            Self::Nothing => "none".to_owned(),
            Self::Node => node::ROLE.to_owned(),
            Self::Session { role, session } => {
                let name = role.rsplit('/').next().unwrap_or(role);
                format!("{name}, as {session}")
            }
        }
    }
}

fn print_table(rows: &[Row]) {
    let titles = ["pod", "client", "asked", "role it was given", "without podrole", "time ms"];
    let mut lines = vec![titles.map(str::to_owned)];
    for row in rows {
        lines.push([
            row.pod.clone(),
            row.client.to_owned(),
            row.asked.clone(),
            row.given.text(),
            row.without.text(),
            row.took_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string()),
        ]);
    }
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

fn conclusion(is_as_promised: bool) -> &'static str {
    if is_as_promised {
        "Each pod got the role it asked for and nothing else; without podrole, each was the node."
    } else {
        "NOT AS PROMISED: a pod got something else than the role it asked for."
    }
}

fn explain(flags: &Flags, cluster: &Cluster, pods: &[Pod<'_>]) {
    let (socket, podrole) = (cluster.socket(), flags.agent.display());
    println!("\nThe node's agent, as an operator asks it:");
    for command in ["status --watch", "explain demo/web", "explain demo/legacy"] {
        println!("  sudo env PODROLE_SOCKET={} {podrole} {command}", socket.display());
    }
    for pod in pods {
        println!("\nA shell in {}/{}:\n  {}", pod.namespace, pod.name, pod.by_hand());
    }
    println!("\nIn there, for example:\n  curl http://169.254.169.254{LIST}");
    println!("\nCtrl-C or Enter ends it all and cleans up.");
}

fn wait_for_the_end(sender: &Sender<()>, end: &Receiver<()>) {
    let enter = sender.clone();
    thread::spawn(move || {
        // Without a terminal there is no Enter, only signals.
        if std::io::stdin().lock().lines().next().is_some() {
            let _main_is_gone = enter.send(());
        }
    });
    let _all_senders_are_gone = end.recv();
    wait::finish();
}

/// Turns the first SIGINT or SIGTERM into an orderly end, whatever is going on; later ones do nothing.
fn watch_signals(end: Sender<()>) {
    thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            anyhow::Ok(())
        })?;
        eprintln!("cleaning up");
        wait::interrupt();
        let _main_is_gone = end.send(());
        Ok(())
    });
}
