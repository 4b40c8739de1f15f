//! What a warm answer allocates, beside what a bare server does for the same bytes.

use allocation_counter::measure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metadata::server;
use crate::operate::duty::Duty;

/// Where figures are written, if anywhere: what `cargo xtask bench memory` reads.
const FILE: &str = "PODROLE_FIGURES";
const REQUESTS: u32 = 1000;

/// A client on a connection that stays.
struct Client {
    stream: DuplexStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    /// The first answer says how long all are.
    async fn new(stream: DuplexStream, token: Option<&str>) -> Self {
        let token = token.map(|token| format!("{TOKEN}: {token}\r\n")).unwrap_or_default();
        let request = format!("GET {LEAF} HTTP/1.1\r\nHost: 169.254.169.254\r\n{token}\r\n");
        let mut client = Self { stream, request: request.into_bytes(), answer: Vec::new() };
        client.stream.write_all(&client.request).await.unwrap();
        while !client.answer.ends_with(b"\n}") {
            client.stream.read_buf(&mut client.answer).await.unwrap();
        }
        assert!(client.answer.starts_with(b"HTTP/1.1 200 "), "{:?}", client.answer);
        client
    }

    async fn ask(&mut self) {
        self.stream.write_all(&self.request).await.unwrap();
        self.stream.read_exact(&mut self.answer).await.unwrap();
    }

    /// Of each answer.
    fn allocations(&mut self, runtime: &Runtime) -> f64 {
        let mut ask = |times: u32| {
            runtime.block_on(async {
                for _ in 0..times {
                    self.ask().await;
                }
            });
        };
        // Buffers and maps grow to what they need.
        ask(REQUESTS);
        let counted = measure(|| ask(REQUESTS)).count_total;
        f64::from(u32::try_from(counted).unwrap()) / f64::from(REQUESTS)
    }
}

/// A proxy with a pod that has credentials, and its connections.
fn proxy() -> (Arc<Handler>, Connection, channel::Sender<Index>, tempfile::TempDir) {
    let Bench { mut handler, pods, _state: state, .. } = with_pod();
    // Not what is measured here.
    handler.limits = Limits::new(64, 100_000_000, LimitCounters::default());
    let caller = caller(POD);
    let place = Arc::new(handler.limits.open(Whose::of(&caller)).unwrap());
    (Arc::new(handler), Connection { caller, place }, pods, state)
}

#[expect(clippy::disallowed_methods, reason = "the test's runtime ends them")]
fn connect(handler: &Arc<Handler>, connection: &Connection) -> DuplexStream {
    let (client, stream) = duplex(64 << 10);
    let answering = Arc::clone(handler);
    let answer = move |connection, head| {
        let handler = Arc::clone(&answering);
        async move { handler.serve(&connection, &head).await }
    };
    let hours = server::Hours { duty: Duty::always(), stop: CancellationToken::new() };
    tokio::spawn(server::connection(stream, connection.clone(), Arc::new(answer), hours));
    client
}

#[test]
#[expect(clippy::print_stdout, reason = "figures are to be read")]
fn figures_of_allocations() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let (handler, connection, _pods, _state) = proxy();
    let (mut plain, mut with_token, mut bare) = runtime.block_on(async {
        let plain = Client::new(connect(&handler, &connection), None).await;
        let token = handler.keys.issue(
            &crate::metadata::token::Binding::Pod("one"),
            crate::metadata::protocol::Ttl::MAX,
            handler.clock.now(),
        );
        let stream = connect(&handler, &connection);
        let with_token = Client::new(stream, Some(&token.unwrap())).await;
        let request = Request::get(LEAF).body(()).unwrap().into_parts().0;
        let answer = handler.serve(&connection, &request).await;
        let (client, stream) = duplex(64 << 10);
        #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
        tokio::spawn(server::bare::serve(stream, answer));
        (plain, with_token, Client::new(client, None).await)
    });
    assert_eq!(plain.answer.len(), bare.answer.len(), "the same bytes");
    let bare = bare.allocations(&runtime);
    let added = plain.allocations(&runtime) - bare;
    let with_token = with_token.allocations(&runtime) - bare;
    let figures = [
        ("allocations-bare", "allocations of a bare server for a request", bare),
        ("allocations-added", "allocations that a warm request adds to those", added),
        ("allocations-token", "the same, of a request with an IMDSv2 token", with_token),
    ];
    for (name, _, value) in figures {
        println!("{name}: {value}");
    }
    if let Ok(file) = std::env::var(FILE) {
        let figures = figures.map(|(name, what, value)| {
            let target = (name == "allocations-added").then(|| serde_json::json!({ "at_most": 0 }));
            serde_json::json!({
                "name": name, "what": what, "unit": "count", "value": value, "target": target
            })
        });
        std::fs::write(file, serde_json::json!({ "figures": figures }).to_string()).unwrap();
    }
    assert!(added < 0.5, "a warm answer allocates {added} times more than HTTP itself");
}

/// It is copied as a whole when the request comes in, with the room for all that the answer may wait for.
#[tokio::test(start_paused = true)]
async fn the_future_of_an_answer_is_small() {
    let (handler, connection, _pods, _state) = proxy();
    let request = Request::get(LEAF).body(()).unwrap().into_parts().0;
    let bytes = size_of_val(&handler.serve(&connection, &request));
    assert!(bytes <= 1152, "{bytes} bytes");
}
