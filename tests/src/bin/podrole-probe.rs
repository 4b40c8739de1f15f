//! Talks to one address from inside a pod and prints what came of it as JSON; also the echo server
//! that stands for everything that podrole must leave alone.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use podrole_tests::bulk;
use podrole_tests::first;
use podrole_tests::hammer::{self, Stop, Tally};
use podrole_tests::probe::{self, Manner};
use podrole_tests::soak;
use podrole_tests::steady;

/// A pod's socket.
#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends standard input over TCP connections.
    Tcp {
        #[command(flatten)]
        target: Target,
        /// How many connections at once.
        #[arg(long, default_value_t = 1)]
        times: u32,
        /// Close right after sending.
        #[arg(long)]
        hang_up: bool,
    },
    /// Sends standard input as a datagram.
    Udp {
        #[command(flatten)]
        target: Target,
    },
    /// Sends back all that comes, until standard input closes.
    Mirror { address: SocketAddr },
    /// Sends bytes to a mirror and prints how many came back as they went.
    Transfer { address: SocketAddr, bytes: u64 },
    /// Asks for the role list until standard input closes, and prints how often it got what.
    Hammer {
        address: SocketAddr,
        /// How many connections at once.
        #[arg(long, default_value_t = 1)]
        at_once: u32,
    },
    /// Reads the credentials by one connection and one token until standard input closes, and prints how
    /// often it got what.
    Steady { address: SocketAddr },
    /// Asks for the role list so many times, and prints how often it got what.
    Repeat {
        address: SocketAddr,
        #[arg(long)]
        times: u32,
    },
    /// Asks for the credentials of a role so many times, as fast as it is answered.
    Soak {
        address: SocketAddr,
        role: String,
        #[arg(long)]
        times: u32,
    },
    /// Asks for the role and its credentials, as the first thing that it does.
    First { address: SocketAddr },
    /// Answers on these addresses until standard input closes.
    Echo {
        #[arg(long)]
        tcp: Vec<SocketAddr>,
        #[arg(long)]
        udp: Vec<SocketAddr>,
    },
}

#[derive(Args)]
struct Target {
    /// Where to.
    address: SocketAddr,
    /// How long the whole may take.
    #[arg(long, default_value_t = 5000)]
    patience_ms: u64,
}

fn main() -> Result<ExitCode> {
    match Flags::parse().command {
        Command::Tcp { target, times, hang_up } => {
            let manner = Manner { patience: target.patience(), hang_up };
            let exchanges = probe::tcp_at_once(target.address, &input()?, manner, times);
            println!("{}", serde_json::to_string(&exchanges)?);
        }
        Command::Udp { target } => {
            let manner = Manner { patience: target.patience(), hang_up: false };
            let exchange = probe::udp(target.address, &input()?, manner);
            println!("{}", serde_json::to_string(&[exchange])?);
        }
        Command::Mirror { address } => {
            thread::spawn(move || bulk::mirror(address, || println!("listening on {address}")));
            input()?;
        }
        Command::Transfer { address, bytes } => println!("{}", bulk::transfer(address, bytes)?),
        Command::Repeat { address, times } => {
            println!("{}", serde_json::to_string(&hammer::repeat(address, times))?);
        }
        Command::Soak { address, role, times } => soak::ask(address, &role, times)?,
        Command::First { address } => println!("{}", serde_json::to_string(&first::ask(address))?),
        Command::Hammer { address, at_once } => {
            until_input_ends(|stop| hammer::hammer(address, at_once, stop))?;
        }
        Command::Steady { address } => until_input_ends(|stop| steady::steady(address, stop))?,
        Command::Echo { tcp, udp } => {
            let (ended, first) = mpsc::channel();
            let of_input = ended.clone();
            thread::spawn(move || {
                let served = probe::echo(&tcp, &udp, |at| println!("listening on {at}"));
                ended.send(served.map_err(anyhow::Error::from))
            });
            thread::spawn(move || of_input.send(input().map(drop)));
            first.recv()??;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn until_input_ends(ask: impl FnOnce(&Stop) -> Tally + Send) -> Result<()> {
    let stop = Stop::default();
    let tally = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&stop));
        let ended = input();
        stop.tell();
        ended.map(|_| asking.join().unwrap_or_default())
    })?;
    println!("{}", serde_json::to_string(&tally)?);
    Ok(())
}

impl Target {
    fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }
}

fn input() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}
