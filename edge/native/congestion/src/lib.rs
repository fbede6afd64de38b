//! How much one viewer's network takes: transport-wide feedback in, a bitrate out; pure, time passed in.

mod aimd;
mod estimator;
mod history;
mod loss;
mod probe;
mod rate;
mod round_trip;
mod trend;

pub use estimator::{BandwidthEstimator, Limits};
pub use probe::Probe;
