//! How much memory a known pod takes: `cargo test -p podrole --lib -- --ignored --nocapture index_takes`.

use std::fs;
use std::time::UNIX_EPOCH;

use super::*;

/// A pod as webhooks leave one: two addresses, a role, two projected tokens.
fn pod(number: usize) -> Pod {
    let token = |volume: &str, audience: Option<&str>| ProjectedToken {
        volume: volume.into(),
        path: "token".into(),
        audience: audience.map(Into::into),
    };
    let uid = format!("{number:08x}-0011-4abc-8def-0123456789ab");
    let octet = |shift: usize| u8::try_from(number >> shift & 0xff).unwrap();
    let v4 = IpAddr::from([10, octet(16), octet(8), octet(0)]);
    let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::try_from(number).unwrap()]);
    Pod {
        uid: PodUid::new(&uid),
        namespace: "payments-production".into(),
        name: format!("checkout-worker-7d9f8b6c5d-{number:05}").into(),
        service_account: "checkout-worker".into(),
        created: UNIX_EPOCH,
        addresses: vec![v4, v6],
        tokens: vec![
            token("kube-api-access-x7x2p", None),
            token("aws-iam-token", Some("sts.amazonaws.com")),
        ],
        ..Pod::fixture("", &[])
    }
    .annotated("iam.amazonaws.com/role", "arn:aws:iam::123456789012:role/payments/checkout-worker")
}

fn index(pods: usize) -> Index {
    let mut index = Index::default();
    index.apply(Event::Listed((0..pods).map(pod).collect()));
    index
}

/// Bytes of this process that are in memory (proc(5), `/proc/pid/statm`).
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
#[ignore = "prints a figure, and must be alone in its process"]
#[expect(clippy::print_stderr, reason = "the figure")]
fn the_index_takes_so_much_memory_per_pod() {
    // Kept, so that none takes the room that another has left.
    let mut kept = Vec::new();
    for pods in [110, 1_000, 10_000] {
        // Enough of them to be told from the allocator's own pages.
        let before = resident();
        let indexes: Vec<_> = (0..100_000 / pods).map(|_| index(pods)).collect();
        let per_pod = (resident() - before) / (indexes.len() * pods);
        eprintln!("{pods} pods: {per_pod} bytes a pod, {} KiB in all", per_pod * pods / 1024);
        assert!(per_pod < 4096, "{per_pod}");
        kept.push(indexes);
    }
}
