//! The socket as agents, commands and others use it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{AskError, ask};
use super::server::{Socket, SocketError};
use super::*;
use crate::operate::duty::Duty;

struct Echo;

impl Answers for Echo {
    async fn answer(&self, question: Question) -> Result<Value, String> {
        match question {
            Question::Ready => Err("not today".into()),
            question => Ok(json!(question)),
        }
    }

    async fn hand_over(&self, successor: Successor) {
        successor.refuse("not today").await;
    }
}

fn bind(path: &std::path::Path) -> Result<Socket, SocketError> {
    Socket::bind(path, Duty::always())
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/agent.sock");
    (directory, path)
}

fn serve(path: &std::path::Path) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(bind(path).unwrap().serve(Arc::new(Echo), CancellationToken::new()));
    tasks
}

fn explain() -> Question {
    Question::Explain { namespace: "shop".into(), name: "web-0".into() }
}

#[tokio::test]
async fn a_question_is_answered() {
    let (_directory, path) = place();
    let _serving = serve(&path);
    assert_eq!(ask::<Question>(&path, &explain()).await.unwrap(), explain());
    let failed = ask::<Value>(&path, &Question::Ready).await.unwrap_err();
    assert_eq!(failed.to_string(), "the agent says: not today");
}

#[tokio::test]
async fn only_root_can_open_it_and_it_goes_with_the_agent() {
    let (_directory, path) = place();
    let socket = bind(&path).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    drop(socket);
    assert!(!path.exists());
    let gone = ask::<Value>(&path, &Question::Ready).await.unwrap_err();
    assert!(matches!(gone, AskError::NoAgent { .. }), "{gone}");
}

#[tokio::test]
async fn an_agent_at_rest_leaves_its_socket_to_the_one_on_duty() {
    let (_directory, path) = place();
    let (switch, duty) = Duty::new(true);
    let first = Socket::bind(&path, duty).unwrap();
    let shared = std::os::fd::AsFd::as_fd(&first).try_clone_to_owned().unwrap();
    switch.set(false);
    drop(first);
    let second = Socket::inherited(shared, &path, Duty::always()).unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(second.serve(Arc::new(Echo), CancellationToken::new()));
    assert_eq!(ask::<Question>(&path, &explain()).await.unwrap(), explain());
}

#[tokio::test]
async fn what_a_killed_agent_left_is_replaced() {
    let (_directory, path) = place();
    drop(bind(&path).unwrap());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _serving = serve(&path);
    assert_eq!(ask::<Question>(&path, &explain()).await.unwrap(), explain());
}

#[tokio::test]
async fn a_directory_that_others_may_write_to_is_refused() {
    let (_directory, path) = place();
    let directory = path.parent().unwrap();
    fs::create_dir(directory).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o775)).unwrap();
    let open = bind(&path).unwrap_err();
    assert!(matches!(open, SocketError::Open { mode: 0o775, .. }), "{open}");
}

#[tokio::test]
async fn a_directory_that_others_may_read_is_closed_to_them() {
    let (_directory, path) = place();
    let directory = path.parent().unwrap();
    fs::create_dir(directory).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let _socket = bind(&path).unwrap();
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_told_so() {
    let (_directory, path) = place();
    let _serving = serve(&path);
    let long = [vec![b'a'; 8192], b"\n".to_vec()].concat();
    for said in [b"{}\n".as_slice(), b"\xff\n", br#"{"ask":"everything"}"#, &long] {
        let mut stream = UnixStream::connect(&path).unwrap();
        // The agent may have answered before it has all.
        let _ = stream.write_all(said);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.contains("failed"), "{answer}");
    }
    assert_eq!(ask::<Question>(&path, &explain()).await.unwrap(), explain());
}
