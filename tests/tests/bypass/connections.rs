//! TCP and its relatives: what the connect hooks see.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use podrole_tests::http::{LIST, Request};
use podrole_tests::sniffer::METADATA;
use podrole_tests::vectors::attack::{
    Attack, Kind, Quirk, RingManner, RingTask, Spelling, To, Transport, Way,
};

use crate::guard::Guard;
use crate::scene::{Scene, Spot};
use crate::vector::{Vector, With};

const V4: IpAddr = METADATA[0];
const V6: IpAddr = METADATA[1];

/// The cases.
pub(crate) fn vectors() -> Vec<Vector> {
    let redirected = With::Redirected;
    vec![
        Vector::new("tcp4", |_| Ok(tcp(v4(80))), redirected, Guard::Redirect),
        Vector::new("tcp4mapped", |_| Ok(tcp(mapped(80))), redirected, Guard::Redirect),
        Vector::new("tcp6", |_| Ok(tcp(v6(80))), redirected, Guard::Redirect),
        Vector::new(
            "tcp6v6only",
            |_| Ok(tcp(v6(80)).quirk(Quirk::OnlyV6)),
            redirected,
            Guard::Redirect,
        ),
        Vector::new("tcp4:8080", |_| Ok(tcp(v4(8080))), With::Refused, Guard::Connect),
        Vector::new("tcp4mapped:8080", |_| Ok(tcp(mapped(8080))), With::Refused, Guard::Connect),
        Vector::new("tcp6:8080", |_| Ok(tcp(v6(8080))), With::Refused, Guard::Connect),
        Vector::new("tfo4", |_| Ok(get(v4(80), Way::FastOpen)), redirected, Guard::Redirect),
        Vector::new(
            "tfo4mapped",
            |_| Ok(get(mapped(80), Way::FastOpen)),
            redirected,
            Guard::Redirect,
        ),
        Vector::new("tfo6", |_| Ok(get(v6(80), Way::FastOpen)), redirected, Guard::Redirect),
        Vector::new(
            "tfoconnect4",
            |_| Ok(get(v4(80), Way::FastOpenConnect)),
            redirected,
            Guard::Redirect,
        ),
        Vector::new(
            "tfoconnect6",
            |_| Ok(get(v6(80), Way::FastOpenConnect)),
            redirected,
            Guard::Redirect,
        ),
        Vector::new("mptcp4", |_| Ok(mptcp(v4(80))), redirected, Guard::Redirect),
        Vector::new("mptcp4mapped", |_| Ok(mptcp(mapped(80))), redirected, Guard::Redirect),
        Vector::new("mptcp6", |_| Ok(mptcp(v6(80))), redirected, Guard::Redirect),
        Vector::new(
            "tcp-boundev",
            |_| Ok(tcp(v4(80)).quirk(Quirk::Device("eth0".to_owned()))),
            redirected,
            Guard::Redirect,
        ),
        Vector::new(
            "tcp-bound-src",
            |scene| Ok(tcp(v4(80)).from(scene.own()?.v4())),
            redirected,
            Guard::Redirect,
        ),
        Vector::new(
            "userns",
            |_| Ok(tcp(v4(80)).quirk(Quirk::UserNamespace)),
            redirected,
            Guard::Redirect,
        ),
        wrong_family(),
        unspecified(),
        before_the_agent(),
    ]
}

/// Connections that the kernel opens on behalf of the process.
pub(crate) fn rings() -> Vec<Vector> {
    let redirected = With::Redirected;
    vec![
        Vector::new("uring_connect", |_| Ok(ring(RingManner::Plain)), redirected, Guard::Redirect),
        Vector::new("uring_sqpoll", |_| Ok(ring(RingManner::Polling)), redirected, Guard::Redirect),
        Vector::new("uring_async", |_| Ok(ring(RingManner::Async)), redirected, Guard::Redirect),
        Vector::new(
            "uring_tfo",
            |_| Ok(in_ring(tcp(v4(80)), RingTask::FastOpen, RingManner::Plain, v4(80))),
            redirected,
            Guard::Redirect,
        ),
    ]
}

/// Sockets and processes that belong to the pod in part only.
pub(crate) fn strangers() -> Vec<Vector> {
    let forward = Guard::Forward;
    vec![
        Vector::new("scm_sys2pod", plain, With::Silent, forward).at(Spot::FedBySystem),
        Vector::new("scm_pod2sys", plain, With::Redirected, Guard::Redirect).at(Spot::FedByPod),
        Vector::new(
            "mig_pod2sys",
            |scene| {
                let system = scene.cluster.node_place().cgroup;
                Ok(tcp(v4(80)).quirk(Quirk::MoveTo(system)))
            },
            With::Redirected,
            Guard::Redirect,
        ),
        Vector::new(
            "mig_sys2pod",
            |scene| Ok(tcp(v4(80)).quirk(Quirk::MoveTo(scene.pod.cgroup.clone()))),
            With::Silent,
            forward,
        )
        .at(Spot::SystemInPod),
        Vector::new("sysproc_in_podns", plain, With::Silent, forward).at(Spot::SystemInPod),
        Vector::unguarded("hostnetpod", plain, With::Reaches).at(Spot::HostPod),
        Vector::unguarded("hostproc", plain, With::Reaches).at(Spot::Node),
    ]
}

/// A request for the role list by plain TCP.
#[expect(clippy::unnecessary_wraps, reason = "one of many, some of which can fail")]
pub(crate) fn plain(_: &Scene<'_>) -> Result<Attack> {
    Ok(tcp(v4(80)))
}

pub(crate) fn tcp(to: SocketAddr) -> Attack {
    get(to, Way::Connect)
}

pub(crate) fn v4(port: u16) -> SocketAddr {
    (V4, port).into()
}

pub(crate) fn v6(port: u16) -> SocketAddr {
    (V6, port).into()
}

pub(crate) fn mapped(port: u16) -> SocketAddr {
    match V4 {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), port).into(),
        IpAddr::V6(v6) => (v6, port).into(),
    }
}

/// A ring that does `task` with what is otherwise an ordinary attack.
pub(crate) fn in_ring(
    attack: Attack,
    task: RingTask,
    manner: RingManner,
    to: SocketAddr,
) -> Attack {
    let to = To { address: to, spelling: Spelling::Plain };
    Attack { way: Way::Ring { task, manner, to }, ..attack }
}

fn ring(manner: RingManner) -> Attack {
    in_ring(tcp(v4(80)), RingTask::Connect, manner, v4(80))
}

fn get(to: SocketAddr, way: fn(To) -> Way) -> Attack {
    Attack::new(Transport::Tcp, to, way).bytes(Request::get(LIST).bytes())
}

fn mptcp(to: SocketAddr) -> Attack {
    Attack::new(Transport::Mptcp, to, Way::Connect).bytes(Request::get(LIST).bytes())
}

fn wrong_family() -> Vector {
    Vector::unguarded(
        "tcp6sock-AF_INET-sa",
        |_| {
            let to = To { address: v4(80), spelling: Spelling::Padded };
            let kind = Kind { v6: true, transport: Transport::Tcp };
            Ok(Attack::made(kind, Way::Connect(to)))
        },
        With::Nothing,
    )
    .stopped_by_linux("the families differ")
}

fn unspecified() -> Vector {
    Vector::unguarded(
        "tcp4sock-AF_UNSPEC",
        |_| {
            let to = To { address: v4(80), spelling: Spelling::Unspecified };
            Ok(Attack { way: Way::Connect(to), ..tcp(v4(80)) })
        },
        With::Nothing,
    )
    .stopped_by_linux("AF_UNSPEC disconnects")
}

fn before_the_agent() -> Vector {
    Vector::new("tcp_opened_before", plain, With::Silent, Guard::Packet).held()
}
