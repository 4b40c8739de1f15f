//! Runs one pretend server: the Kubernetes API, STS, kube2iam, or the EC2 metadata service.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use podrole_tests::pretend::log::Writer;
use podrole_tests::pretend::node::{self, Keys};
use podrole_tests::pretend::serve::{self, Handler};
use podrole_tests::pretend::{kube2iam, kubernetes, metadata, sts};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// A pretend server for podrole's tests.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    server: Server,
}

#[derive(Debug, Subcommand)]
enum Server {
    /// A small Kubernetes API server
    Kubernetes {
        /// The bearer token that requests must carry
        #[arg(long)]
        bearer_token: String,
        /// Milliseconds between the bookmarks of a watch
        #[arg(long, default_value_t = 1000)]
        bookmark_interval: u64,
        #[command(flatten)]
        common: Common,
    },
    /// STS, as far as assuming roles goes
    Sts {
        /// Access key id of the node
        #[arg(long, default_value_t = Keys::of_environment().id)]
        access_key_id: String,
        /// Secret access key of the node
        #[arg(long, default_value_t = Keys::of_environment().secret)]
        secret_access_key: String,
        /// Who the holder of these keys is
        #[arg(long, default_value = node::ARN)]
        caller_arn: String,
        #[command(flatten)]
        common: Common,
    },
    /// kube2iam, as pods meet it
    Kube2iam {
        /// The role of the pod with an address, as ADDRESS=ROLE
        #[arg(long)]
        role: Vec<String>,
        /// The role of all others
        #[arg(long)]
        default_role: String,
        #[command(flatten)]
        common: Common,
    },
    /// The EC2 instance metadata service
    Metadata {
        /// Refuse requests without a session token (IMDSv1)
        #[arg(long)]
        tokens_required: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Address and port to listen on; port 0 picks one
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    /// File that gets a JSON line per request
    #[arg(long)]
    log: PathBuf,
    /// End when stdin is closed
    #[arg(long)]
    until_stdin_closes: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().server {
        Server::Kubernetes { bearer_token, bookmark_interval, common } => {
            let log = Writer::open(&common.log)?;
            let interval = Duration::from_millis(bookmark_interval.max(1));
            run(kubernetes::Server::new(log, &bearer_token, interval)?, &common).await
        }
        Server::Sts { access_key_id, secret_access_key, caller_arn, common } => {
            let keys = Keys { id: access_key_id, secret: secret_access_key, token: None };
            run(sts::Server::new(Writer::open(&common.log)?, keys, &caller_arn)?, &common).await
        }
        Server::Kube2iam { role, default_role, common } => {
            let read = |pair: &String| {
                let (address, role) = pair.split_once('=')?;
                Some((address.parse().ok()?, role.to_owned()))
            };
            let roles = role.iter().filter_map(read).collect();
            let log = Writer::open(&common.log)?;
            run(kube2iam::Server::new(log, roles, &default_role), &common).await
        }
        Server::Metadata { tokens_required, common } => {
            run(metadata::Server::new(Writer::open(&common.log)?, tokens_required)?, &common).await
        }
    }
}

/// Listens, says so, and serves until told to stop.
async fn run<H: Handler>(handler: H, common: &Common) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stdin_closed = stdin_closed(common.until_stdin_closes);
    let listeners = serve::listen(&common.listen).await?;
    let mut stdout = std::io::stdout().lock();
    for listener in &listeners {
        writeln!(stdout, "listening on {}", listener.local_addr()?)?;
    }
    stdout.flush()?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_closed => {}
        }
    };
    serve::serve(listeners, Arc::new(handler), stop).await;
    Ok(())
}

/// Resolves at the end of stdin, which a thread waits for; never where that is not `wanted`.
async fn stdin_closed(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (closed, is_closed) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
        // The server has ended by itself where nobody waits any more.
        let _ended = closed.send(());
    });
    // An error means that the thread is gone, and then nobody watches stdin: stop as well.
    let _closed = is_closed.await;
}
