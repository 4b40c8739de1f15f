//! A pod that asks for its credentials as fast as it is answered, over one connection, and checks each answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clients::Credentials;
use crate::http::{LIST, METADATA, TOKEN, TOKEN_HEADER, TOKEN_TTL};
use crate::pod::Pod;
use crate::process;
use crate::wait;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one pod may take for all of its requests.
const ALL_WITHIN: Duration = Duration::from_mins(30);
/// A connection is used for so many requests.
const EACH: u32 = 5_000;

/// A process that asks.
#[derive(Debug)]
pub struct Asking(Child);

impl Pod<'_> {
    /// Starts to ask so often for the credentials of the role that bears the pod's name.
    pub fn ask_often(&self, times: u32) -> Result<Asking> {
        let mut command = self.command(process::own_binary("podrole-probe")?)?;
        command.args(["soak", METADATA, &self.name, "--times", &times.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(Asking(child.spawn().context("start a process")?))
    }
}

impl Asking {
    /// Waits until all has been asked.
    ///
    /// # Errors
    /// The first answer that was not the pod's own credentials.
    pub fn finish(mut self) -> Result<()> {
        let ended =
            wait::until("the end of a pod that asks", ALL_WITHIN, || Ok(self.0.try_wait()?));
        if ended.is_err() {
            self.0.kill()?;
            self.0.wait()?;
        }
        let mut said = String::new();
        self.0.stderr.take().context("a pipe")?.read_to_string(&mut said)?;
        ensure!(ended?.success(), "{said}");
        Ok(())
    }
}

/// Asks, and fails with the first answer that is not as it must be.
pub fn ask(address: SocketAddr, role: &str, times: u32) -> Result<()> {
    let mut left = times;
    while left > 0 {
        let now = left.min(EACH);
        converse(address, role, now)?;
        left -= now;
    }
    Ok(())
}

fn converse(address: SocketAddr, role: &str, times: u32) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut exchange = |head: &str| -> Result<(u16, String)> {
        stream.write_all(head.as_bytes())?;
        read(&mut answers)
    };
    let put = format!("PUT {TOKEN} HTTP/1.1\r\nHost: 169.254.169.254\r\n{TOKEN_TTL}: 600\r\n\r\n");
    let (status, token) = exchange(&put)?;
    ensure!(status == 200, "a token: {status} {token}");
    let get = format!(
        "GET {LIST}{role} HTTP/1.1\r\nHost: 169.254.169.254\r\n{TOKEN_HEADER}: {token}\r\n\r\n"
    );
    let mut last = String::new();
    for _ in 1..times {
        let (status, body) = exchange(&get)?;
        ensure!(status == 200, "{role}: {status} {body}");
        if body == last {
            continue;
        }
        let session = Credentials::of_document(&body, Duration::ZERO)?.session()?;
        ensure!(session.role.ends_with(&format!("/{role}")), "{role} got {}", session.role);
        last = body;
    }
    Ok(())
}

/// One answer: its status and its body, whose length it tells.
fn read(answers: &mut BufReader<TcpStream>) -> Result<(u16, String)> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    let status = line.split(' ').nth(1).with_context(|| format!("no status: {line:?}"))?.parse()?;
    let mut length = 0;
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)?;
    Ok((status, String::from_utf8(body)?))
}
