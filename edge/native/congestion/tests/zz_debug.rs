mod support;
use farstage_congestion::Limits;
use support::{Path, World};
#[test]
fn trace() {
    let limits = Limits { min_bps: 100_000, start_bps: 600_000, max_bps: 50_000_000 };
    let mut world = World::new(limits, Path::of(5e6), 1);
    world.run(10.0);
    world.path.rate_bps = 1e6;
    for step in 0..40 {
        let seen = world.run(0.1);
        println!(
            "{:.1}: {:.2} queue {:.0} rtt {}",
            step as f64 / 10.0 + 0.1,
            seen.mean_estimate_bps() / 1e6,
            seen.queue_ms(1.0),
            world.estimator.rtt_us() / 1000
        );
    }
}
