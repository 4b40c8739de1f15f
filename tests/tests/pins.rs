//! What is pinned under podrole's names and is not podrole's is not taken up, and not taken away.

use std::fs;

use anyhow::Result;
use podrole_tests::bpf;
use podrole_tests::bpffs::PINS;
use podrole_tests::cluster::Cluster;

#[test]
fn a_map_of_another_make_is_refused_with_what_mends_it() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        for name in ["MODES", "RECORDS", "EVENTS"] {
            let directory = cluster.bpf_fs.path().join(PINS);
            fs::create_dir_all(&directory)?;
            let pin = directory.join(name);
            bpf::pin_array(&pin)?;
            let finished = cluster.agent().run()?;
            assert_eq!(finished.status.code(), Some(1), "{finished:?}");
            for words in [pin.display().to_string().as_str(), "podrole detach"] {
                assert!(finished.stderr.contains(words), "{words} is missing in {finished:?}");
            }
            assert_eq!(cluster.bpf_fs.pins()?, [pin], "nothing is added or taken away");
            assert!(pod.node_credentials()?.is_some(), "nothing is attached");
            cluster.detach()?;
        }
        let _agent = cluster.agent().start()?;
        pod.wait_for_role("web")
    })
}

#[test]
fn pins_of_another_version_are_refused_with_what_mends_it() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let directory = cluster.bpf_fs.path().join("podrole/v0");
        fs::create_dir_all(&directory)?;
        let pin = directory.join("MODES");
        bpf::pin_array(&pin)?;
        let finished = cluster.agent().run()?;
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        for words in [directory.display().to_string().as_str(), "another version", "podrole detach"]
        {
            assert!(finished.stderr.contains(words), "{words} is missing in {finished:?}");
        }
        assert_eq!(cluster.bpf_fs.pins()?, [pin], "nothing is added or taken away");
        assert!(pod.node_credentials()?.is_some(), "nothing is attached");
        cluster.detach()?;
        let _agent = cluster.agent().start()?;
        pod.wait_for_role("web")
    })
}
