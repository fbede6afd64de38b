//! The least that fan-out can cost here: encrypt each packet, hand each picture to the kernel, nothing else.
//!
//! A yardstick for the engine: the same packets, as many viewers and keys, the same rate, received by as many sockets
//! that another thread empties. What the engine adds is headers, bookkeeping and everything that WebRTC asks for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::poller::Poller;
use crate::thread::thread_cpu_ns;
use crate::udp::{Batch, SEND_BUFFER_BYTES, Udp};

const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What the loop cost.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling {
    /// Packets sent.
    pub packets: u64,
    /// Packets that the receiving sockets got.
    pub received: u64,
    /// CPU time of the sending thread.
    pub cpu_ns: u64,
}

struct Receivers {
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Receivers {
    fn start(viewers: usize, local: SocketAddr) -> io::Result<Self> {
        let sockets: Vec<Udp> = (0..viewers).map(|_| Udp::bind(local, false)).collect::<io::Result<_>>()?;
        let addresses = sockets.iter().map(Udp::local_address).collect::<io::Result<_>>()?;
        let mut poller = Poller::new()?;
        for (at, socket) in sockets.iter().enumerate() {
            poller.watch(socket.fd(), at as u64, false)?;
        }
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, count) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = std::thread::Builder::new().name("ceiling-sink".to_owned()).spawn(move || {
            let (mut batch, mut ready) = (Batch::new(), Vec::new());
            while !stopping.load(Ordering::Relaxed) {
                if poller.wait(Duration::from_millis(100), &mut ready).is_err() {
                    return;
                }
                for at in &ready {
                    let fd = sockets[*at as usize].fd();
                    let taken = batch.receive(fd, |_, _| {}).unwrap_or(0);
                    count.fetch_add(taken as u64, Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { addresses, stop, received, thread })
    }

    fn finish(self) -> u64 {
        std::thread::sleep(Duration::from_millis(200));
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.received.load(Ordering::Relaxed)
    }
}

/// Send `pictures` (payload sizes of each one's packets) in turn to `viewers` sockets on `local`, `fps` a second, for
/// this many seconds. Packets of a picture should be equal but for the last, as one kernel send carries them.
pub fn measure(
    viewers: usize,
    pictures: &[Vec<usize>],
    fps: f64,
    seconds: f64,
    local: SocketAddr,
    crypto_only: bool,
) -> io::Result<Ceiling> {
    let receivers = Receivers::start(viewers, local)?;
    let sender = Udp::bind(local, false)?;
    let keys: Vec<LessSafeKey> = (0..viewers).map(key).collect();
    let payload = vec![0x5A_u8; SEND_BUFFER_BYTES];
    let mut buffer = vec![0_u8; SEND_BUFFER_BYTES];
    let mut packets = 0_u64;
    let start = Instant::now();
    let cpu = thread_cpu_ns();
    let count = (fps * seconds) as u32;
    for number in 0..count {
        let due = start + Duration::from_secs_f64(f64::from(number) / fps);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let Some(sizes) = pictures.get(number as usize % pictures.len().max(1)) else { break };
        for (key, address) in keys.iter().zip(&receivers.addresses) {
            let mut at = 0;
            while at < sizes.len() {
                let (bytes, taken) = fill(&mut buffer, &sizes[at..], &payload, key, packets);
                if !crypto_only {
                    sender.send(*address, &buffer[..bytes], HEADER_BYTES + sizes[at] + TAG_BYTES);
                }
                at += taken;
                packets += taken as u64;
            }
        }
    }
    let cpu_ns = thread_cpu_ns() - cpu;
    Ok(Ceiling { packets, received: receivers.finish(), cpu_ns })
}

/// Write the first packets of one size (the last may be shorter) of a picture; returns their bytes and number.
fn fill(buffer: &mut [u8], sizes: &[usize], payload: &[u8], key: &LessSafeKey, counter: u64) -> (usize, usize) {
    let (mut bytes, mut taken) = (0, 0);
    let first = sizes.first().copied().unwrap_or(0);
    for size in sizes {
        let end = bytes + HEADER_BYTES + size + TAG_BYTES;
        if *size > first || end > buffer.len() {
            break;
        }
        let packet = &mut buffer[bytes..end];
        packet[..HEADER_BYTES].fill(0x80);
        packet[HEADER_BYTES..HEADER_BYTES + size].copy_from_slice(&payload[..*size]);
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&(counter + taken as u64).to_be_bytes());
        let (header, rest) = packet.split_at_mut(HEADER_BYTES);
        let (text, tag) = rest.split_at_mut(*size);
        if let Ok(sealed) =
            key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*header), text)
        {
            tag.copy_from_slice(sealed.as_ref());
        }
        bytes = end;
        taken += 1;
        if *size < first {
            break;
        }
    }
    (bytes, taken.max(1))
}

fn key(number: usize) -> LessSafeKey {
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &bytes).expect("AES-128 takes a key of 16 bytes"))
}
