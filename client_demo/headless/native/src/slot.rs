//! A viewer with its way to the server, perhaps a bad one.

use std::net::SocketAddr;

use crate::clock::Arrival;
use crate::counters::Counters;
use crate::impairment::Impairment;
use crate::link::Link;
use crate::sockets::Reception;
use crate::viewer::{Tools, Viewer};

/// One viewer of a thread.
pub struct Slot {
    /// The viewer.
    pub viewer: Viewer,
    /// Its socket; TCP connections are made when the answer is there.
    pub link: Option<Link>,
    /// Its bad network.
    pub impairment: Option<Impairment>,
    /// Whether its pictures are handed on.
    pub decode: bool,
    /// When its timer is set to, in microseconds since the start.
    pub scheduled_us: u64,
    /// Packets it lost since the mark.
    pub lost: u64,
    drops: u32,
    new_drops: u64,
    source: Option<SocketAddr>,
}

impl Slot {
    /// A viewer without a timer.
    pub fn new(viewer: Viewer, link: Option<Link>, impairment: Option<Impairment>, decode: bool) -> Self {
        let source = None;
        Self { viewer, link, impairment, decode, scheduled_us: u64::MAX, lost: 0, drops: 0, new_drops: 0, source }
    }

    /// When the viewer or its network has something to do next.
    pub fn due_us(&self) -> u64 {
        let network = self.impairment.as_ref().and_then(Impairment::due_us).unwrap_or(u64::MAX);
        self.viewer.due_us().min(network)
    }

    /// Takes what one reception brought.
    pub fn take(&mut self, reception: Reception<'_>, now: Arrival, tools: &mut Tools<'_>) {
        if let Some(drops) = reception.drops {
            self.new_drops += u64::from(drops.wrapping_sub(self.drops));
            self.drops = drops;
        }
        let Some(from) = reception.from else {
            return;
        };
        let wall_us = if reception.wall_us == 0 { now.wall_us } else { reception.wall_us };
        let arrival = Arrival { wall_us, ..now };
        for datagram in reception.data.chunks_mut(reception.segment) {
            self.take_datagram(datagram, from, arrival, tools);
        }
    }

    /// Takes one datagram, by way of the bad network if there is one.
    pub fn take_datagram(&mut self, datagram: &mut [u8], from: SocketAddr, arrival: Arrival, tools: &mut Tools<'_>) {
        match &mut self.impairment {
            None => self.viewer.receive(datagram, from, arrival, tools),
            Some(impairment) => {
                self.source = Some(from);
                impairment.push(datagram, arrival.now_us);
            }
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, arrival: Arrival, tools: &mut Tools<'_>) {
        while let (Some(impairment), Some(from)) = (&mut self.impairment, self.source) {
            let Some(mut datagram) = impairment.take_due(arrival.now_us) else {
                break;
            };
            self.viewer.receive(&mut datagram, from, arrival, tools);
            impairment.recycle(datagram);
        }
        self.viewer.tick(arrival, tools);
    }

    /// Counters since the last call.
    pub fn take_counters(&mut self) -> Counters {
        let mut counters = self.viewer.take_counters();
        counters.receiver_drops += std::mem::take(&mut self.new_drops);
        if let Some(impairment) = &mut self.impairment {
            counters.impaired_packets += impairment.take_dropped();
        }
        self.lost += counters.lost_packets;
        counters
    }
}
