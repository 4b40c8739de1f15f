//! One pretend server for one test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use podrole_tests::http::{Answer, Request};
use podrole_tests::pretend::log::{self, Entry};
use podrole_tests::wait::PATIENCE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// A running server; it ends with this handle, or with the test's process.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    directory: TempDir,
}

impl Server {
    pub(crate) fn start(which: &str, further: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_podrole-pretend"))
            .args([which, "--listen", "127.0.0.1:0", "--until-stdin-closes", "--log"])
            .arg(directory.path().join("log"))
            .args(further)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, address, directory }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a request and reads the answer.
    pub(crate) fn ask(&self, request: &Request) -> Answer {
        request.answer(&self.ask_raw(request)).unwrap()
    }

    /// Sends a request and reads all that comes, until the server closes the connection.
    pub(crate) fn ask_raw(&self, request: &Request) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&request.bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn control(&self, method: &str, what: &str, body: &impl Serialize) {
        let body = serde_json::to_string(body).unwrap();
        let request = Request::new(method, &format!("/_pretend/{what}")).content(&body);
        assert_eq!(self.ask(&request).status, 200, "{what}");
    }

    pub(crate) fn log<T: DeserializeOwned>(&self) -> Vec<Entry<T>> {
        log::read(&self.directory.path().join("log")).unwrap()
    }

    /// Closes the server's stdin and says whether it ended well.
    pub(crate) fn close_stdin(&mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }

    /// Sends a signal and says whether the server ended well.
    pub(crate) fn signal(&mut self, signal: libc::c_int) -> bool {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill(2) takes no pointer; the child is not yet waited for, so the pid is its own.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0);
        self.child.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn a_server_ends_well_when_stdin_closes_and_on_signals() {
    assert!(Server::start("sts", &[]).close_stdin());
    assert!(Server::start("metadata", &[]).signal(libc::SIGTERM));
    assert!(Server::start("kubernetes", &["--bearer-token", "t"]).signal(libc::SIGINT));
}
