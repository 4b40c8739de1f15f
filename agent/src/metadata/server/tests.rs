//! Slow clients, to the millisecond, and answers that panic, over streams in memory.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;

use crate::metadata::response::plain;

use super::*;

/// What the server does with a request for this path.
const PANIC: &str = "/panic";
const SLOW: &str = "/slow";

/// The client's end of a connection.
fn connect() -> DuplexStream {
    connect_with_room(64 * 1024)
}

fn connect_with_room(room: usize) -> DuplexStream {
    connect_within(Hours { duty: Duty::always(), stop: CancellationToken::new() }, room)
}

fn connect_within(hours: Hours, room: usize) -> DuplexStream {
    let (client, server) = duplex(room);
    let answer = |(): (), head: Parts| async move {
        match head.uri.path() {
            PANIC => panic!("as the test wants it"),
            SLOW => sleep(Duration::from_secs(30)).await,
            _ => {}
        }
        plain("a".repeat(1000))
    };
    let task = connection(server, (), Arc::new(answer), hours);
    #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
    tokio::spawn(task);
    client
}

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// Reads one answer; its first line.
async fn answer(client: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"aaaa") && !bytes.ends_with(b"</html>\n") {
        let mut buffer = [0; 4096];
        let read = client.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned()
}

/// Reads to the end; the bytes, and how long it took.
async fn end(client: &mut DuplexStream) -> (String, Duration) {
    let asked = Instant::now();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    (String::from_utf8_lossy(&bytes).into_owned(), asked.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_has_5_seconds() {
    assert_eq!(end(&mut connect()).await, (String::new(), Duration::from_secs(5)));
}

#[tokio::test(start_paused = true)]
async fn a_head_has_5_seconds_however_it_drips() {
    let mut client = connect();
    let began = Instant::now();
    for byte in request("/latest").iter().take(20) {
        if client.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(600)).await;
    }
    let (said, _) = end(&mut client).await;
    assert!(!said.contains("200"), "{said}");
    assert!(began.elapsed() <= Duration::from_secs(6), "{:?}", began.elapsed());
    let mut client = connect();
    client.write_all(b"GET /latest HT").await.unwrap();
    assert_eq!(end(&mut client).await.1, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_a_minute_and_no_sooner() {
    let mut client = connect();
    for idle in [0, 59] {
        sleep(Duration::from_secs(idle)).await;
        client.write_all(&request("/latest")).await.unwrap();
        assert_eq!(answer(&mut client).await, "HTTP/1.1 200 OK");
    }
    assert_eq!(end(&mut client).await, (String::new(), Duration::from_mins(1)));
}

#[tokio::test(start_paused = true)]
async fn a_later_head_has_5_seconds_too() {
    let mut client = connect();
    client.write_all(&request("/latest")).await.unwrap();
    answer(&mut client).await;
    sleep(Duration::from_secs(30)).await;
    client.write_all(b"GET /la").await.unwrap();
    assert_eq!(end(&mut client).await.1, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_nobodys_fault() {
    let mut client = connect();
    client.write_all(&request(SLOW)).await.unwrap();
    assert_eq!(answer(&mut client).await, "HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_answer_is_given_up() {
    let mut client = connect_with_room(512);
    client.write_all(&request("/latest")).await.unwrap();
    sleep(Duration::from_secs(11)).await;
    let (said, _) = end(&mut client).await;
    assert!(said.len() < 1000, "{} bytes of an answer that nobody took", said.len());
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_that_requests_500_and_no_others() {
    let mut client = connect();
    client.write_all(&request("/latest")).await.unwrap();
    assert_eq!(answer(&mut client).await, "HTTP/1.1 200 OK");
    client.write_all(&request(PANIC)).await.unwrap();
    let (said, _) = end(&mut client).await;
    assert!(said.starts_with("HTTP/1.1 500"), "{said}");
    assert!(said.to_lowercase().contains("connection: close"), "{said}");
    let mut other = connect();
    other.write_all(&request("/latest")).await.unwrap();
    assert_eq!(answer(&mut other).await, "HTTP/1.1 200 OK");
}

#[tokio::test(start_paused = true)]
async fn a_resting_agent_answers_what_is_open_and_ends_it() {
    let (switch, duty) = Duty::new(true);
    let mut client = connect_within(Hours { duty, stop: CancellationToken::new() }, 64 * 1024);
    client.write_all(&request("/latest")).await.unwrap();
    assert_eq!(answer(&mut client).await, "HTTP/1.1 200 OK");
    switch.set(false);
    sleep(Duration::from_secs(30)).await;
    client.write_all(&request("/latest")).await.unwrap();
    let (said, _) = end(&mut client).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("Connection: close"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_stopping_agent_reads_the_first_request_of_who_has_just_come() {
    let stop = CancellationToken::new();
    let hours = Hours { duty: Duty::always(), stop: stop.clone() };
    let (mut late, mut silent) = (connect_within(hours.clone(), 4096), connect_within(hours, 4096));
    stop.cancel();
    sleep(Duration::from_millis(500)).await;
    late.write_all(&request("/latest")).await.unwrap();
    let (said, _) = end(&mut late).await;
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("Connection: close"), "{said}");
    let (said, _) = end(&mut silent).await;
    assert_eq!(said, "");
}

#[tokio::test(start_paused = true)]
async fn a_stopping_agent_closes_what_is_idle() {
    let stop = CancellationToken::new();
    let hours = Hours { duty: Duty::always(), stop: stop.clone() };
    let mut client = connect_within(hours, 4096);
    client.write_all(&request("/latest")).await.unwrap();
    assert_eq!(answer(&mut client).await, "HTTP/1.1 200 OK");
    stop.cancel();
    assert_eq!(end(&mut client).await, (String::new(), Duration::ZERO));
}
