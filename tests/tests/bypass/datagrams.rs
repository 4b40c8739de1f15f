//! Datagrams: what the connect hooks do not see unless they are asked to connect.

use std::net::SocketAddr;

use podrole_tests::vectors::attack::{
    Attack, Kind, RingManner, RingTask, Spelling, To, Transport, Way,
};

use crate::connections::{in_ring, mapped, v4, v6};
use crate::guard::Guard;
use crate::vector::{Vector, With};

/// The cases.
pub(crate) fn vectors() -> Vec<Vector> {
    let refused = With::Refused;
    vec![
        Vector::new("udp4conn53", |_| Ok(udp(v4(53), Way::Connect)), refused, Guard::Connect),
        Vector::new("udp4conn80", |_| Ok(udp(v4(80), Way::Connect)), refused, Guard::Connect),
        Vector::new("udp4sendto53", |_| Ok(udp(v4(53), Way::SendTo)), refused, Guard::Datagram),
        Vector::new("udp4sendto80", |_| Ok(udp(v4(80), Way::SendTo)), refused, Guard::Datagram),
        Vector::new("udp6sendto53", |_| Ok(udp(v6(53), Way::SendTo)), refused, Guard::Datagram),
        Vector::new("udp6conn53", |_| Ok(udp(v6(53), Way::Connect)), refused, Guard::Connect),
        Vector::new(
            "udp4mappedconn53",
            |_| Ok(udp(mapped(53), Way::Connect)),
            refused,
            Guard::Connect,
        ),
        Vector::new(
            "udp4mappedsendto53",
            |_| Ok(udp(mapped(53), Way::SendTo)),
            refused,
            Guard::Datagram,
        ),
        Vector::new("udp4cork53", |_| Ok(udp(v4(53), Way::Cork)), refused, Guard::Datagram),
        Vector::new("udp6cork53", |_| Ok(udp(v6(53), Way::Cork)), refused, Guard::Datagram),
        Vector::new(
            "udp6sock-AF_INET-sa",
            |_| {
                let kind = Kind { v6: true, transport: Transport::Udp };
                Ok(Attack::made(
                    kind,
                    Way::SendTo(To { address: v4(53), spelling: Spelling::Plain }),
                ))
            },
            refused,
            Guard::Datagram,
        ),
        Vector::new(
            "udp4-AF_UNSPEC-sa",
            |_| {
                let kind = Kind { v6: false, transport: Transport::Udp };
                let to = To { address: v4(53), spelling: Spelling::Unspecified };
                Ok(Attack::made(kind, Way::SendTo(to)))
            },
            refused,
            Guard::Datagram,
        ),
        Vector::new("udplite53", |_| Ok(udp_lite(v4(53))), refused, Guard::Datagram),
        Vector::new("udplite6_53", |_| Ok(udp_lite(v6(53))), refused, Guard::Datagram),
        Vector::new("udp_opened_before", |_| Ok(udp(v4(53), Way::Connect)), refused, Guard::Packet)
            .held(),
        Vector::new(
            "uring_udp",
            |_| {
                let attack = udp(v4(53), Way::SendTo);
                Ok(in_ring(attack, RingTask::Send, RingManner::Plain, v4(53)))
            },
            refused,
            Guard::Datagram,
        ),
    ]
}

/// A datagram by an ordinary socket.
pub(crate) fn udp(to: SocketAddr, way: fn(To) -> Way) -> Attack {
    Attack::new(Transport::Udp, to, way)
}

fn udp_lite(to: SocketAddr) -> Attack {
    Attack::new(Transport::UdpLite, to, Way::SendTo)
}
