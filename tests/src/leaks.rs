//! Whether anything of a pod arrives at the metadata service: every packet is looked at, beyond the
//! node.

use std::cell::Cell;

use anyhow::Result;

use crate::cluster::{Cluster, NODE_ADDRESSES};
use crate::place::Place;
use crate::process;
use crate::sniffer::{Packet, Sniffer};
use crate::vectors::fence;
use crate::wait::PATIENCE;

/// Watches from when it is made.
#[derive(Debug)]
pub struct Leaks {
    sniffer: Sniffer,
    number: Cell<u32>,
}

impl Cluster {
    /// Begins to watch.
    pub fn leaks(&self) -> Result<Leaks> {
        Ok(Leaks { sniffer: self.sniff()?, number: Cell::new(0) })
    }
}

impl Leaks {
    /// What has arrived since the last call that does not bear the node's own address. `place` is a
    /// pod's, whose packets go the way of all pods'.
    pub fn seen(&self, place: &Place) -> Result<Vec<Packet>> {
        self.number.set(self.number.get() + 1);
        let number = self.number.get();
        let mut command = place.command(process::own_binary("podrole-vectors")?)?;
        command.args(["fence", &format!("10.0.0.1:{}", fence::PORT), &number.to_string()]);
        let fences = process::run(&mut command, b"", PATIENCE)?.ok()?.trim().parse()?;
        let mut packets = self.sniffer.until_fence(number, fences)?;
        packets.retain(|packet| !NODE_ADDRESSES.contains(&packet.from.to_string().as_str()));
        Ok(packets)
    }
}
