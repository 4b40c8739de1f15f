//! What a process in some [`Place`] gets when it talks to an address.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::time::Instant;

use crate::clients::Credentials;
use crate::http::{self, Answer, Request};
use crate::place::Place;
use crate::pretend::node;
use crate::probe::Exchange;
use crate::process;
use crate::wait::{self, PATIENCE};

impl Place {
    /// Asks the metadata service for `path` without a token, as old clients do.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.ask(&Request::get(path))
    }

    /// Sends a request to the metadata service's IPv4 address.
    pub fn ask(&self, request: &Request) -> Result<Answer> {
        self.ask_at(http::METADATA, request)
    }

    /// Sends a request to an address.
    ///
    /// # Errors
    /// Where no whole answer came.
    pub fn ask_at(&self, address: &str, request: &Request) -> Result<Answer> {
        let exchange = self.tcp(address, &request.bytes())?;
        if let Some(failure) = exchange.failure {
            bail!("{request:?} to {address}: {failure:?}");
        }
        request.answer(&exchange.answer())
    }

    /// Gets an IMDSv2 token of six hours.
    pub fn token(&self) -> Result<String> {
        Ok(self.ask(&Request::put(http::TOKEN).header(http::TOKEN_TTL, "21600"))?.body)
    }

    /// One TCP exchange of any bytes with any address.
    pub fn tcp(&self, address: &str, bytes: &[u8]) -> Result<Exchange> {
        self.probe(&["tcp", address], bytes)?.pop().context("the probe said nothing")
    }

    /// Many TCP exchanges at once, each on a connection of its own.
    pub fn tcp_at_once(&self, address: &str, bytes: &[u8], times: u32) -> Result<Vec<Exchange>> {
        self.probe(&["tcp", address, "--times", &times.to_string()], bytes)
    }

    /// Sends bytes and closes the connection without waiting for an answer.
    pub fn hang_up_on(&self, address: &str, bytes: &[u8]) -> Result<Exchange> {
        let said = self.probe(&["tcp", address, "--hang-up"], bytes)?;
        said.into_iter().next().context("the probe said nothing")
    }

    /// One datagram there, and one back within a second.
    pub fn udp(&self, address: &str, bytes: &[u8]) -> Result<Exchange> {
        let said = self.probe(&["udp", address, "--patience-ms", "1000"], bytes)?;
        said.into_iter().next().context("the probe said nothing")
    }

    /// Whether a connect to the metadata service is refused, which is what podrole's redirect does
    /// while no agent listens.
    pub fn is_refused(&self, address: &str) -> Result<bool> {
        Ok(self.hang_up_on(address, b"")?.refused() == Some(libc::ECONNREFUSED))
    }

    /// The credentials of the node, where this place can read them from the real metadata service.
    pub fn node_credentials(&self) -> Result<Option<String>> {
        let answer = self.get(&format!("{}{}", http::LIST, node::ROLE))?;
        Ok(Some(answer.body).filter(|body| body.contains(node::LEAK_MARKER)))
    }

    /// The role that the metadata service lists here; `None` where it knows of none (404).
    ///
    /// # Errors
    /// Any other status.
    pub fn listed_role(&self) -> Result<Option<String>> {
        let answer = self.get(http::LIST)?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => bail!("the role list: {answer:?}"),
        }
    }

    /// Waits until the role list shows `role`.
    ///
    /// # Errors
    /// Where it does not in time, and at once where it shows the node's.
    pub fn wait_for_role(&self, role: &str) -> Result<()> {
        wait::until_true(&format!("the role {role}"), || {
            let answer = self.get(http::LIST)?;
            ensure!(answer.body != node::ROLE, "the node's role is shown");
            Ok(answer.status == 200 && answer.body == role)
        })
    }

    /// The credentials of a role by plain HTTP.
    ///
    /// # Errors
    /// Where they are not given.
    pub fn credentials_of(&self, role: &str) -> Result<Credentials> {
        let start = Instant::now();
        let answer = self.get(&format!("{}{role}", http::LIST))?;
        ensure!(answer.status == 200, "the credentials of {role}: {answer:?}");
        Credentials::of_document(&answer.body, start.elapsed())
    }

    /// Whether bytes sent to `address` reach the bystander there (see [`crate::cluster::BYSTANDERS`]).
    pub fn reaches_bystander(&self, address: SocketAddr, udp: bool) -> Result<bool> {
        let target = address.to_string();
        let said = if udp { self.udp(&target, b"hello")? } else { self.tcp(&target, b"hello")? };
        Ok(String::from_utf8_lossy(&said.answer()).starts_with(&format!("{address} sees ")))
    }

    /// Sends so many bytes to a mirror at `address`, and gives how many came back as they went.
    pub fn transfer(&self, address: &str, bytes: u64) -> Result<u64> {
        let mut command = self.command(process::own_binary("podrole-probe")?)?;
        command.args(["transfer", address, &bytes.to_string()]);
        Ok(process::run(&mut command, b"", PATIENCE * 3)?.ok()?.trim().parse()?)
    }

    fn probe(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<Exchange>> {
        let mut command = self.command(process::own_binary("podrole-probe")?)?;
        let finished =
            process::run(command.args(arguments), input, PATIENCE + Duration::from_secs(5))?;
        Ok(serde_json::from_str(&finished.ok()?)?)
    }
}
