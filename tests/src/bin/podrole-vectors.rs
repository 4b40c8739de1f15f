//! Carries out one attack on the metadata service and prints what the attacker saw as JSON; also what
//! else such a test needs inside a pod.

use std::io::Write as _;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use podrole_tests::vectors::attack::{Attack, Kind, Report};
use podrole_tests::vectors::{carry_out, fence, hand_over, sidecar};

/// What a pod that means harm does.
#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Carries an attack out, told as JSON.
    Attack {
        #[arg(value_parser = json::<Attack>)]
        attack: Attack,
    },
    /// Opens the connection of an attack, and goes on when somebody connects to a Unix socket, who gets
    /// the report.
    Hold {
        #[arg(value_parser = json::<Attack>)]
        attack: Attack,
        path: PathBuf,
    },
    /// Makes a socket and passes it to whoever connects to a Unix socket.
    Give {
        #[arg(value_parser = json::<Kind>)]
        kind: Kind,
        path: PathBuf,
    },
    /// Takes all redirected connections to where they were going.
    Sidecar { port: u16, uid: u32 },
    /// Sends a fence packet from each processor.
    Fence { to: SocketAddrV4, number: u32 },
}

fn main() -> Result<()> {
    match Flags::parse().command {
        Command::Attack { attack } => print(&carry_out(&attack, || Ok(()))),
        Command::Hold { attack, path } => hold(&attack, &path),
        Command::Give { kind, path } => {
            hand_over::give(kind, &path, || println!("listening at {}", path.display()))
        }
        Command::Sidecar { port, uid } => {
            Ok(sidecar::serve(port, uid, || println!("listening on {port}"))?)
        }
        Command::Fence { to, number } => print(&fence::send(SocketAddr::V4(to), number)?),
    }
}

fn hold(attack: &Attack, path: &Path) -> Result<()> {
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    let mut asker = None;
    let report = carry_out(attack, || {
        println!("opened");
        asker = Some(listener.accept()?.0);
        Ok(())
    });
    match asker {
        Some(mut asker) => Ok(asker.write_all(&serde_json::to_vec(&report)?)?),
        None => refused(&report),
    }
}

fn refused(report: &Report) -> Result<()> {
    anyhow::bail!("the connection was not opened: {report:?}")
}

fn print(what: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}
