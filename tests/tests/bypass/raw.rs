//! Packets of the attacker's own making: raw, ping and packet sockets, source routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use podrole_tests::http::{LIST, Request};
use podrole_tests::sniffer::METADATA;
use podrole_tests::vectors::attack::{Attack, Content, Quirk, To, Transport, Way};
use podrole_tests::vectors::packet;

use crate::connections::{tcp, v4, v6};
use crate::guard::Guard;
use crate::networks::DECOY;
use crate::scene::{NODE_V6, Scene, Spot};
use crate::vector::{Vector, With};

/// The node.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
const SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const SERVICE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Raw and ping sockets.
pub(crate) fn sockets() -> Vec<Vector> {
    let refused = With::Refused;
    vec![
        Vector::new("raw_hdrincl_syn", header_included, refused, Guard::Packet),
        Vector::new(
            "raw_connect",
            |scene| Ok(raw(packet::TCP, Way::Connect, syn(scene, Spot::Pod)?)),
            refused,
            Guard::Packet,
        ),
        Vector::new(
            "raw_opened_before",
            |scene| Ok(raw(packet::TCP, Way::Connect, syn(scene, Spot::Pod)?)),
            refused,
            Guard::Packet,
        )
        .held(),
        Vector::new("raw_icmp", |_| Ok(icmp()), refused, Guard::Packet),
        Vector::new(
            "raw6_icmp",
            |_| Ok(icmp6(Transport::Raw(packet::ICMPV6))),
            refused,
            Guard::Packet,
        ),
        Vector::new("ping_sendto", |_| Ok(ping(Way::SendTo)), refused, Guard::Packet),
        Vector::new("ping_connect", |_| Ok(ping(Way::Connect)), refused, Guard::Connect),
        // Linux forgets to report the error here.
        Vector::new("ping6_sendto", |_| Ok(icmp6(Transport::Ping)), With::Silent, Guard::Packet),
        Vector::new("lsrr_via_imds", by_the_service, With::Silent, Guard::Packet),
        Vector::new(
            "lsrr_via_node",
            |_| Ok(tcp(v4(80)).quirk(Quirk::SourceRoute(NODE))),
            With::Redirected,
            Guard::Redirect,
        ),
        Vector::unguarded("hostnet_raw_icmp", |_| Ok(icmp()), With::Reaches).at(Spot::HostPod),
    ]
}

/// Packet sockets.
pub(crate) fn frames() -> Vec<Vector> {
    let silent = With::Silent;
    vec![
        Vector::new(
            "af_packet_syn",
            |scene| frame(scene, Spot::Pod, "eth0"),
            silent,
            Guard::Forward,
        ),
        Vector::new(
            "af_packet_bypass",
            |scene| Ok(frame(scene, Spot::Pod, "eth0")?.quirk(Quirk::QdiscBypass)),
            silent,
            Guard::Forward,
        ),
        Vector::new("af_packet_frag", fragments, silent, Guard::Forward),
        Vector::new("af_packet_vlan0", tagged, silent, Guard::Forward),
        Vector::new("af_packet_syn6", frame_v6, silent, Guard::Forward),
        Vector::new("af_packet_frag6", fragments_v6, silent, Guard::Forward),
        Vector::new("af_packet_spoof_pod2", spoof_other_pod, silent, Guard::Forward),
        Vector::unguarded(
            "af_packet_spoof_node",
            |_| Ok(syn_frame("eth0", NODE.into(), METADATA[0])),
            With::Nothing,
        )
        .stopped_by_linux("a martian source"),
        Vector::new("af_packet_lsrr_node", source_routed_frame, silent, Guard::Forward),
        Vector::new("af_packet_srh_node6", segment_routed_frame, silent, Guard::Forward),
        Vector::unguarded(
            "hostnet_afpacket",
            |_| Ok(syn_frame("up0", NODE.into(), METADATA[0])),
            With::Reaches,
        )
        .at(Spot::HostPod),
        Vector::unguarded(
            "hostnet_afpkt_bypass",
            |_| Ok(syn_frame("up0", NODE.into(), METADATA[0]).quirk(Quirk::QdiscBypass)),
            With::Reaches,
        )
        .at(Spot::HostPod),
    ]
}

/// A raw ICMP echo request.
pub(crate) fn icmp() -> Attack {
    raw(packet::ICMP, Way::SendTo, packet::echo_request())
}

/// A SYN in a frame of its own on `device`, from the address that the attacker has.
pub(crate) fn frame(scene: &Scene<'_>, spot: Spot, device: &str) -> Result<Attack> {
    Ok(syn_frame(device, scene.address_of(spot)?.into(), METADATA[0]))
}

/// A SYN from any address.
pub(crate) fn syn_frame(device: &str, from: IpAddr, to: IpAddr) -> Attack {
    let packet = packet::ip(from, to, packet::TCP, &packet::syn(from, to, 80));
    Attack::packets(device, vec![packet])
}

fn raw(protocol: u8, way: fn(To) -> Way, bytes: Vec<u8>) -> Attack {
    Attack::new(Transport::Raw(protocol), v4(0), way).bytes(bytes)
}

fn syn(scene: &Scene<'_>, spot: Spot) -> Result<Vec<u8>> {
    Ok(packet::syn(scene.address_of(spot)?.into(), METADATA[0], 80))
}

fn header_included(scene: &Scene<'_>) -> Result<Attack> {
    let own = scene.own()?.v4().into();
    let packet = packet::ip(own, METADATA[0], packet::TCP, &syn(scene, Spot::Pod)?);
    Ok(raw(packet::TCP, Way::SendTo, packet).quirk(Quirk::HeaderIncluded))
}

fn ping(way: fn(To) -> Way) -> Attack {
    Attack::new(Transport::Ping, v4(0), way).bytes(packet::echo_request())
}

fn icmp6(transport: Transport) -> Attack {
    Attack::new(transport, v6(0), Way::SendTo).bytes(packet::echo_request_v6())
}

/// To another server, but by way of the metadata service.
#[expect(clippy::unnecessary_wraps, reason = "one of many, some of which can fail")]
fn by_the_service(_: &Scene<'_>) -> Result<Attack> {
    let attack = Attack::new(Transport::Tcp, (DECOY, 80).into(), Way::Connect);
    Ok(attack.bytes(Request::get(LIST).bytes()).quirk(Quirk::SourceRoute(SERVICE)))
}

fn fragments(scene: &Scene<'_>) -> Result<Attack> {
    let datagram = packet::udp(53, &[0; 32]);
    let header = packet::V4::new(scene.own()?.v4(), SERVICE, packet::UDP);
    Ok(Attack::packets("eth0", header.fragments(&datagram, 16)))
}

fn frame_v6(scene: &Scene<'_>) -> Result<Attack> {
    Ok(syn_frame("eth0", scene.own()?.v6().into(), METADATA[1]))
}

/// Linux takes a tag of VLAN 0 for none.
fn tagged(scene: &Scene<'_>) -> Result<Attack> {
    let (own, service) = (scene.own()?.v4().into(), METADATA[0]);
    let packet = packet::ip(own, service, packet::TCP, &syn(scene, Spot::Pod)?);
    Ok(Attack::frames("eth0", vec![Content::ip(packet).tagged()]))
}

fn fragments_v6(scene: &Scene<'_>) -> Result<Attack> {
    let own = scene.own()?.v6();
    let fragments =
        packet::v6_fragments(own, SERVICE_V6, packet::UDP, &packet::udp(53, &[0; 32]), 16);
    Ok(Attack::packets("eth0", fragments))
}

fn segment_routed_frame(scene: &Scene<'_>) -> Result<Attack> {
    let own = scene.own()?.v6();
    let syn = packet::syn(own.into(), SERVICE_V6.into(), 80);
    let packet = packet::v6_by(own, NODE_V6, SERVICE_V6, packet::TCP, &syn);
    Ok(Attack::packets("eth0", vec![packet]))
}

fn spoof_other_pod(scene: &Scene<'_>) -> Result<Attack> {
    let other = scene.other.address().context("the other pod has addresses")?;
    Ok(syn_frame("eth0", other.v4().into(), METADATA[0]))
}

fn source_routed_frame(scene: &Scene<'_>) -> Result<Attack> {
    let header = packet::V4::new(scene.own()?.v4(), SERVICE, packet::TCP).by(NODE);
    Ok(Attack::packets("eth0", vec![header.packet(&syn(scene, Spot::Pod)?)]))
}
