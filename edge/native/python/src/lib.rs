//! The native engine for Python: conversion only. See `edge/_native.pyi`.

use std::net::{IpAddr, SocketAddr};

use farstage_fanout::events::Event;
use farstage_fanout::publisher::Picture;
use farstage_fanout::sdp::Wanted;
use farstage_fanout::statistics::ROW_BYTES;
use farstage_rtp::packetize::Codec;
use farstage_sockets::ceiling;
use farstage_sockets::engine::{Engine, EngineSettings};
use farstage_sockets::histogram::Histogram;
use farstage_transport::dtls::Identity;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn addresses(texts: &[String]) -> PyResult<Vec<IpAddr>> {
    texts.iter().map(|text| text.parse().map_err(|_| value_error(format!("not an IP address: {text}")))).collect()
}

fn codec(name: &str) -> PyResult<Codec> {
    match name {
        "H264" => Ok(Codec::H264),
        "VP8" => Ok(Codec::Vp8),
        "AV1" => Ok(Codec::Av1),
        _ => Err(value_error(format!("no such codec: {name}; known are H264, VP8, AV1"))),
    }
}

/// `edge._native.NativeCore`
#[pyclass(frozen)]
struct NativeCore {
    engine: Engine,
}

#[pymethods]
impl NativeCore {
    #[new]
    #[pyo3(signature = (*, bind, announce, port, shards, certificate, private_key, playout_delay_ms, avoid_gso))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        bind: Vec<String>,
        announce: Vec<String>,
        port: u16,
        shards: usize,
        certificate: Vec<u8>,
        private_key: Vec<u8>,
        playout_delay_ms: (u16, u16),
        avoid_gso: bool,
    ) -> PyResult<Self> {
        let settings = EngineSettings {
            bind: addresses(&bind)?,
            announce: addresses(&announce)?,
            port,
            shards,
            identity: Identity { certificate, private_key },
            playout_delay_ms,
            avoid_gso,
        };
        let engine = Engine::start(settings).map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(Self { engine })
    }

    #[pyo3(signature = (session, stream, offer, *, encoding, profiles, start_bps))]
    #[allow(clippy::too_many_arguments)]
    fn answer(
        &self,
        py: Python<'_>,
        session: u64,
        stream: u64,
        offer: &str,
        encoding: String,
        profiles: Vec<String>,
        start_bps: f64,
    ) -> PyResult<String> {
        let wanted = Wanted { encoding, profiles };
        py.detach(|| self.engine.answer(session, stream, offer, &wanted, start_bps as u64)).map_err(value_error)
    }

    #[pyo3(signature = (session, offer, *, encoding, profiles, max_layers))]
    fn answer_publisher(
        &self,
        py: Python<'_>,
        session: u64,
        offer: &str,
        encoding: String,
        profiles: Vec<String>,
        max_layers: usize,
    ) -> PyResult<(String, Vec<String>)> {
        let wanted = Wanted { encoding, profiles };
        py.detach(|| self.engine.answer_publisher(session, offer, &wanted, max_layers)).map_err(value_error)
    }

    fn request_keyframe(&self, session: u64, layer: usize) {
        self.engine.request_keyframe(session, layer);
    }

    fn trickle(&self, py: Python<'_>, session: u64, fragment: &str) -> PyResult<Option<String>> {
        py.detach(|| self.engine.trickle(session, fragment)).map_err(value_error)
    }

    fn set_layers(&self, stream: u64, rates_bps: Vec<f64>) {
        // A float becomes the nearest number that there is: what is negative or not a number is 0.
        let rates_bps: Vec<u64> = rates_bps.into_iter().map(|bps| bps as u64).collect();
        self.engine.set_layers(stream, &rates_bps);
    }

    #[pyo3(signature = (stream, encoding, frame, *, keyframe, timestamp, picture_id, layer))]
    #[allow(clippy::too_many_arguments)]
    fn send(
        &self,
        stream: u64,
        encoding: &str,
        frame: &[u8],
        keyframe: bool,
        timestamp: u32,
        picture_id: u16,
        layer: u8,
    ) -> PyResult<()> {
        let codec = codec(encoding)?;
        self.engine.send(stream, codec, frame, keyframe, timestamp, picture_id, layer).map_err(value_error)
    }

    fn send_audio(&self, session: u64, timestamp: u32, opus_frame: &[u8]) {
        self.engine.send_audio(session, timestamp, opus_frame);
    }

    fn send_message(&self, sessions: Vec<u64>, label: &str, text: &[u8]) {
        self.engine.send_message(&sessions, label, text);
    }

    #[pyo3(signature = (session, *, farewell))]
    fn close(&self, session: u64, farewell: bool) {
        self.engine.close(session, farewell);
    }

    fn events_fd(&self) -> i32 {
        self.engine.events_fd()
    }

    fn events<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        self.engine.events().into_iter().map(|event| to_tuple(py, event)).collect()
    }

    fn statistics<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let snapshots = self.engine.snapshots();
        let rows: usize = snapshots.iter().map(|snapshot| snapshot.rows.len()).sum();
        let mut bytes = Vec::with_capacity(rows * ROW_BYTES);
        for row in snapshots.iter().flat_map(|snapshot| &snapshot.rows) {
            row.write(&mut bytes);
        }
        PyBytes::new(py, &bytes)
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let sums = PyDict::new(py);
        let snapshots = self.engine.snapshots();
        for (index, (name, _)) in farstage_fanout::events::Counters::default().named().iter().enumerate() {
            let sum: u64 = snapshots.iter().map(|snapshot| snapshot.counters.named()[index].1).sum();
            sums.set_item(name, sum)?;
        }
        Ok(sums)
    }

    fn latency(&self) -> Vec<(f64, u64)> {
        let mut sum = Histogram::default();
        self.engine.snapshots().iter().for_each(|snapshot| sum.add(&snapshot.latency));
        sum.buckets().collect()
    }

    fn cpu_s(&self) -> f64 {
        self.engine.snapshots().iter().map(|snapshot| snapshot.cpu_ns as f64 / 1e9).sum()
    }

    fn send_mode(&self) -> &'static str {
        self.engine.send_mode().name()
    }

    fn shards(&self) -> usize {
        self.engine.shards()
    }

    fn addresses(&self) -> Vec<String> {
        self.engine.udp_addresses().iter().map(SocketAddr::to_string).collect()
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.engine.stop());
    }
}

fn to_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    let bytes = |data: Vec<u8>| PyBytes::new(py, &data);
    match event {
        Event::Connected(session) => ("connected", session).into_pyobject(py),
        Event::ChannelOpened(session, label) => ("channel_open", session, label).into_pyobject(py),
        Event::Message(session, label, data) => ("message", session, label, bytes(data)).into_pyobject(py),
        Event::Voice(session, data) => ("voice", session, bytes(data)).into_pyobject(py),
        Event::Picture(session, Picture { layer, keyframe, capture_time_us, sequence, payload, .. }) => {
            ("picture", session, layer, keyframe, capture_time_us, sequence, bytes(payload)).into_pyobject(py)
        }
        Event::KeyframeNeeded(stream, layer) => ("keyframe_needed", stream, layer).into_pyobject(py),
        Event::PictureLeft(stream, timestamp) => ("picture_left", stream, timestamp).into_pyobject(py),
        Event::Gone(session) => ("gone", session).into_pyobject(py),
    }
}

/// `edge._native.measure_ceiling`
#[pyfunction]
#[pyo3(signature = (*, viewers, pictures, fps, seconds, local, crypto_only))]
fn measure_ceiling(
    py: Python<'_>,
    viewers: usize,
    pictures: Vec<Vec<usize>>,
    fps: f64,
    seconds: f64,
    local: &str,
    crypto_only: bool,
) -> PyResult<(u64, u64, f64)> {
    let ip: IpAddr = local.parse().map_err(value_error)?;
    let local = SocketAddr::new(ip, 0);
    let measured = py.detach(|| ceiling::measure(viewers, &pictures, fps, seconds, local, crypto_only));
    let measured = measured.map_err(|error| PyOSError::new_err(error.to_string()))?;
    Ok((measured.packets, measured.received, measured.cpu_ns as f64 / 1e9))
}

/// `edge._native.packet_sizes`
#[pyfunction]
fn packet_sizes(encoding: &str, frame: &[u8]) -> PyResult<Vec<usize>> {
    let now = std::time::Instant::now();
    let frame = farstage_fanout::stream::PacketizedFrame::new(codec(encoding)?, frame, false, 0, 0, now);
    let frame = frame.map_err(value_error)?;
    Ok((0..frame.packets()).map(|packet| frame.payload(packet).len()).collect())
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NativeCore>()?;
    module.add_function(wrap_pyfunction!(measure_ceiling, module)?)?;
    module.add_function(wrap_pyfunction!(packet_sizes, module)?)?;
    Ok(())
}
