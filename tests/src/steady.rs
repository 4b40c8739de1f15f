//! A pod that asks as SDKs do: it keeps its connection and its IMDSv2 token as long as they last, and reads
//! its credentials again and again.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::clients::Credentials;
use crate::cluster::Cluster;
use crate::hammer::{Hammer, Stop, Tally};
use crate::http::{Answer, LIST, METADATA, TOKEN, TOKEN_HEADER, TOKEN_TTL};
use crate::place::Place;
use crate::process::{self, Process};

/// For each answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two requests.
const BETWEEN: Duration = Duration::from_millis(20);

impl Cluster {
    /// Starts to ask at `place`, by one connection and one token as long as they last.
    pub fn steady(&self, place: &Place) -> Result<Hammer> {
        let mut command = place.command(process::own_binary("podrole-probe")?)?;
        command.args(["steady", METADATA]);
        Ok(Hammer::of(Process::spawn(
            "a steady client",
            &mut command,
            &self.fresh_file("steady")?,
        )?))
    }
}

/// Asks until told to stop. Whatever was read is tallied as `200 ROLE-ARN`.
#[must_use]
pub fn steady(address: SocketAddr, stop: &Stop) -> Tally {
    let (mut client, mut tally) = (Client { address, stream: None }, Tally::default());
    let mut token = None;
    while !stop.wait(BETWEEN) {
        tally.note(client.look(&mut token).unwrap_or_else(|error| format!("{error:#}")));
    }
    tally
}

struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    /// The whole of what an SDK reads, but for the token, which is got once.
    fn look(&mut self, token: &mut Option<String>) -> Result<String> {
        if token.is_none() {
            let answer = self.ask("PUT", TOKEN, &format!("{TOKEN_TTL}: 21600\r\n"))?;
            anyhow::ensure!(answer.status == 200, "{} for a token", answer.status);
            *token = Some(answer.body);
        }
        let header = format!("{TOKEN_HEADER}: {}\r\n", token.as_deref().unwrap_or_default());
        let role = self.ask("GET", LIST, &header)?;
        anyhow::ensure!(role.status == 200, "{} for the role", role.status);
        let answer = self.ask("GET", &format!("{LIST}{}", role.body), &header)?;
        anyhow::ensure!(answer.status == 200, "{} for the credentials", answer.status);
        let credentials = Credentials::of_document(&answer.body, Duration::ZERO)?;
        Ok(format!("200 {}", credentials.session()?.role))
    }

    fn ask(&mut self, method: &str, path: &str, header: &str) -> Result<Answer> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{header}\r\n");
        let mut kept = self.stream.take().filter(is_open);
        let is_kept = kept.is_some();
        if kept.is_none() {
            kept = Some(TcpStream::connect_timeout(&self.address, PATIENCE).context("connect")?);
        }
        let Some(mut stream) = kept else { anyhow::bail!("no connection") };
        let read = exchange(&mut stream, request.as_bytes());
        // A server may close a connection just as its client takes it up again: every client asks once
        // more then, where nothing of an answer has come (RFC 9112, section 9.3.1).
        let answer = match read {
            Err(error) if is_kept && is_of_closed(&error) => {
                stream = TcpStream::connect_timeout(&self.address, PATIENCE).context("connect")?;
                exchange(&mut stream, request.as_bytes())
            }
            read => read,
        }?;
        let closes = answer.header("Connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        self.stream = Some(stream).filter(|_| !closes);
        Ok(answer)
    }
}

/// Whether the server has closed it meanwhile, as each client looks before it uses one again.
fn is_open(stream: &TcpStream) -> bool {
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let is_open = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    is_open && stream.set_nonblocking(false).is_ok()
}

fn is_of_closed(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind.is_some_and(|kind| {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        matches!(kind, BrokenPipe | ConnectionReset | UnexpectedEof)
    })
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 && bytes.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        anyhow::ensure!(read > 0, "half an answer");
        bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if let Ok((answer, _)) = Answer::read(&bytes, true) {
            return Ok(answer);
        }
    }
}
