//! An agent in which nothing goes on any more ends, so that kubelet starts it anew.

use std::os::unix::process::ExitStatusExt as _;
use std::thread;

use anyhow::{Result, ensure};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::METADATA;
use podrole_tests::wait::PATIENCE;

/// Hands the program a pipe for its output that nobody reads and that is full.
const UNREAD: [&str; 3] = [
    "python3",
    "-c",
    "import os, sys
near, far = os.pipe()
os.set_blocking(far, False)
try:
    while True:
        os.write(far, bytes(4096))
except BlockingIOError:
    os.set_blocking(far, True)
os.dup2(far, 2)
os.set_inheritable(near, True)
os.execv(sys.argv[1], sys.argv[1:])",
];

#[test]
fn an_agent_that_hangs_ends_itself_and_leaves_the_guard() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        ensure!(pod.node_credentials()?.is_some(), "without podrole");
        // Whoever writes an audit line waits for ever.
        let agent = cluster.agent().under(&UNREAD);
        let mut agent = agent.env("PODROLE_LOG_LEVEL", "off,podrole::audit=info").start()?;
        let threads = thread::available_parallelism()?.get();
        let _asking = (0..threads + 2).map(|_| cluster.steady(&pod)).collect::<Result<Vec<_>>>()?;
        let status = agent.wait(PATIENCE * 3)?;
        ensure!(status.signal() == Some(libc::SIGABRT), "{status}");
        ensure!(pod.is_refused(METADATA)?, "the guard stays");
        Ok(())
    })
}
