//! Pods with unusual networks.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use podrole_tests::http::{LIST, Request};
use podrole_tests::sniffer::METADATA;
use podrole_tests::vectors::attack::{Attack, Quirk, Transport, Way};
use podrole_tests::vectors::packet;

use crate::connections::{plain, tcp, v4, v6};
use crate::datagrams::udp;
use crate::guard::Guard;
use crate::networks::{DECOY, DECOY_V6, MACVLAN, NESTED, REWRITTEN_FROM, VXLAN};
use crate::raw::{NODE, frame, icmp, syn_frame};
use crate::scene::{Scene, Spot};
use crate::vector::{Vector, With};

/// The cases.
pub(crate) fn vectors() -> Vec<Vector> {
    [own_rules(), through_the_node(), host_routing(), macvlan(), nested()].concat()
}

fn own_rules() -> Vec<Vector> {
    vec![
        Vector::new("own_dnat", |_| Ok(get(DECOY)), With::Silent, Guard::Packet).at(Spot::OwnDnat),
        Vector::new(
            "own_dnat_udp",
            |_| Ok(udp((DECOY, 81).into(), Way::SendTo)),
            With::Refused,
            Guard::Packet,
        )
        .at(Spot::OwnDnat),
        Vector::new("own_netdev_rewrite", |_| Ok(rewritten()), With::Silent, Guard::Forward)
            .at(Spot::OwnRewrite),
        Vector::new("sidecar", plain, With::Redirected, Guard::Redirect).at(Spot::Sidecar),
    ]
}

fn host_routing() -> Vec<Vector> {
    let vectors = [
        Vector::new("hostroute_tcp4", plain, With::Redirected, Guard::Redirect),
        Vector::new("hostroute_tcp6", |_| Ok(tcp(v6(80))), With::Redirected, Guard::Redirect),
        Vector::new(
            "hostroute_udp4",
            |_| Ok(udp(v4(53), Way::SendTo)),
            With::Refused,
            Guard::Datagram,
        ),
        Vector::new("hostroute_raw_icmp", |_| Ok(icmp()), With::Refused, Guard::Packet),
        Vector::new(
            "hostroute_af_packet",
            |scene| frame(scene, Spot::HostRouted, "eth0"),
            With::Silent,
            Guard::Forward,
        ),
    ];
    vectors.map(|vector| vector.at(Spot::HostRouted)).into()
}

fn macvlan() -> Vec<Vector> {
    let vectors = [
        // A macvlan interface cannot reach the node itself, and so not the proxy.
        Vector::new("macvlan_tcp4", plain, With::Silent, Guard::Redirect),
        Vector::new(
            "macvlan_udp4",
            |_| Ok(udp(v4(53), Way::SendTo)),
            With::Refused,
            Guard::Datagram,
        ),
        Vector::new("macvlan_raw_icmp", |_| Ok(icmp()), With::Refused, Guard::Packet),
        // Its frames cross no interface of the node's on the way in.
        Vector::new("macvlan_netdev_rewrite", |_| Ok(rewritten()), With::Silent, Guard::Forward),
        Vector::new(
            "macvlan_af_packet",
            |_| Ok(syn_frame("mac0", MACVLAN.into(), METADATA[0])),
            With::Refused,
            Guard::Forward,
        ),
    ];
    vectors.map(|vector| vector.at(Spot::Macvlan)).into()
}

fn nested() -> Vec<Vector> {
    let vectors = [
        // Its record bears the inner address; the pod's own masquerading shows another.
        Vector::new("nested_tcp4", plain, With::Redirected, Guard::Redirect),
        Vector::new(
            "nested_udp4",
            |_| Ok(udp(v4(53), Way::SendTo)),
            With::Refused,
            Guard::Datagram,
        ),
        Vector::new("nested_raw_icmp", |_| Ok(icmp()), With::Refused, Guard::Packet),
        Vector::new(
            "nested_af_packet",
            |_| Ok(syn_frame("eth0", NESTED.into(), METADATA[0])),
            With::Silent,
            Guard::Forward,
        ),
    ];
    vectors.map(|vector| vector.at(Spot::Nested)).into()
}

/// What the node itself does to packets of pods on their way.
fn through_the_node() -> Vec<Vector> {
    vec![
        Vector::new("service_dnat4", |_| Ok(get(DECOY)), With::Silent, Guard::Forward)
            .at(Spot::Service),
        Vector::new("service_dnat6", |_| Ok(get(DECOY_V6)), With::Silent, Guard::Forward)
            .at(Spot::Service),
        Vector::new("vxlan_via_node", in_vxlan, With::Silent, Guard::Forward).at(Spot::Vxlan),
    ]
}

/// A request for the role list to an address that somebody rewrites.
fn get(decoy: impl Into<IpAddr>) -> Attack {
    let attack = Attack::new(Transport::Tcp, (decoy.into(), 81).into(), Way::Connect);
    attack.bytes(Request::get(LIST).bytes())
}

/// The same from the one port whose answers are rewritten too.
fn rewritten() -> Attack {
    get(DECOY).quirk(Quirk::From((Ipv4Addr::UNSPECIFIED, REWRITTEN_FROM).into()))
}

/// A SYN in the node's overlay network, which the node takes out and forwards (RFC 7348, 5).
fn in_vxlan(scene: &Scene<'_>) -> Result<Attack> {
    const VXLAN_PORT: u16 = 4789;
    let own = scene.address_of(Spot::Vxlan)?.into();
    let syn = packet::ip(own, METADATA[0], packet::TCP, &packet::syn(own, METADATA[0], 80));
    let bytes = packet::vxlan(VXLAN, &syn);
    Ok(udp((NODE, VXLAN_PORT).into(), Way::SendTo).bytes(bytes))
}
