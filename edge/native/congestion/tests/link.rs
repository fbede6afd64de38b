//! The estimator against a bottleneck in virtual time: it finds the link's rate, keeps the queue short, follows
//! changes, and is not misled by jitter, random losses and keyframes.

mod support;

use farstage_congestion::Limits;
use support::{Path, Seen, World};

const LIMITS: Limits = Limits { min_bps: 100_000, start_bps: 600_000, max_bps: 50_000_000 };
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Prints a figure of the documentation; see them with `--nocapture`.
fn show(name: &str, link_bps: f64, seen: &Seen) {
    println!(
        "{name}: estimate {:.0} %, arrived {:.0} %, queue median {:.0} ms, 95 % {:.0} ms, longest {:.0} ms",
        100.0 * seen.mean_estimate_bps() / link_bps,
        100.0 * seen.goodput_bps() / link_bps,
        seen.queue_ms(0.5),
        seen.queue_ms(0.95),
        seen.queue_ms(1.0),
    );
}

fn assert_uses(seen: &Seen, link_bps: f64, least: f64, queue_ms: f64) {
    let share = seen.mean_estimate_bps() / link_bps;
    assert!((least..=1.0).contains(&share), "the estimate is {share:.2} of the link");
    let queue = seen.queue_ms(0.95);
    assert!(queue < queue_ms, "the queue is {queue} ms long");
}

#[test]
fn estimate_converges_to_links_of_all_sizes() {
    for link_bps in [0.5e6, 1e6, 2.5e6, 5e6, 10e6, 30e6] {
        for seed in SEEDS {
            let mut world = World::new(LIMITS, Path::of(link_bps), seed);
            show(&format!("{link_bps} first 5 s"), link_bps, &world.run(5.0));
            let seen = world.run(30.0);
            show(&format!("{link_bps} after 5 s"), link_bps, &seen);
            assert_uses(&seen, link_bps, 0.7, 150.0);
        }
    }
}

#[test]
fn estimate_follows_a_link_that_becomes_slower_and_faster() {
    for seed in SEEDS {
        let mut world = World::new(LIMITS, Path::of(5e6), seed);
        world.run(10.0);
        world.path.rate_bps = 1e6;
        let fall = world.run(5.0);
        show("5 to 1 Mbit/s, first 5 s", 1e6, &fall);
        let low = world.run(15.0);
        show("5 to 1 Mbit/s, then", 1e6, &low);
        assert!(fall.queue_ms(1.0) < 1_000.0);
        assert_uses(&low, 1e6, 0.7, 200.0);
        world.path.rate_bps = 5e6;
        show("1 to 5 Mbit/s, first 10 s", 5e6, &world.run(10.0));
        let high = world.run(15.0);
        show("1 to 5 Mbit/s, then", 5e6, &high);
        assert_uses(&high, 5e6, 0.7, 150.0);
    }
}

/// A viewer of the highest layer whose line narrows: the engine goes on until the estimate says so, sends nothing while
/// the lower layer's keyframe is on its way, and then that layer.
#[test]
fn line_that_narrows_under_a_layer_is_known_for_what_it_still_takes_and_found_to_have_widened() {
    for seed in SEEDS {
        let limits = Limits { min_bps: 150_000, start_bps: 2_500_000, max_bps: 5_000_000 };
        let mut world = World::new(limits, Path { max_queue_us: 250_000, ..Path::of(10e6) }, seed);
        (world.heeds_estimate, world.application_bps) = (false, 1.2e6);
        world.run(5.0);
        world.path.rate_bps = 450_000.0;
        let mut noticed = 0;
        while world.estimator.estimate_bps() > 1_100_000 {
            world.run(0.05);
            noticed += 1;
        }
        println!("noticed after {} ms: {}", noticed * 50, world.estimator.estimate_bps());
        assert!(noticed < 20, "not noticed within a second");
        world.run(0.2);
        world.application_bps = 0.0;
        world.run(0.6);
        println!("after the silence: {}", world.estimator.estimate_bps());
        world.application_bps = 300_000.0;
        for second in 0..8 {
            let seen = world.run(1.0);
            println!("narrow {second}: {} queue {}", world.estimator.estimate_bps(), seen.queue_ms(0.95));
        }
        assert!(world.estimator.estimate_bps() > 315_000, "the layer that fits is thought not to");
        world.path.rate_bps = 10e6;
        let mut seconds = 0;
        while world.estimator.estimate_bps() < 1_400_000 {
            world.run(1.0);
            seconds += 1;
            println!("wide {seconds}: {}", world.estimator.estimate_bps());
            assert!(seconds < 12, "not found to be wide");
        }
    }
}

/// At fifteen pictures a second a queue of a quarter of a second is full after four of them: no trend is seen by then.
#[test]
fn short_queue_that_overflows_is_noticed_within_half_a_second() {
    for seed in SEEDS {
        let limits = Limits { min_bps: 150_000, start_bps: 5_000_000, max_bps: 5_000_000 };
        let mut world = World::new(limits, Path { max_queue_us: 250_000, ..Path::of(20e6) }, seed);
        (world.heeds_estimate, world.application_bps, world.frame_us) = (false, 1.25e6, 66_667);
        world.run(5.0);
        world.path.rate_bps = 450_000.0;
        world.run(0.5);
        let estimate_bps = world.estimator.estimate_bps();
        assert!(estimate_bps < 700_000, "{estimate_bps}");
    }
}

#[test]
fn round_trips_of_sender_reports_do_not_hide_a_queue_that_feedback_shows() {
    let limits = Limits { min_bps: 150_000, start_bps: 2_500_000, max_bps: 5_000_000 };
    let mut world = World::new(limits, Path::of(10e6), 1);
    (world.heeds_estimate, world.application_bps) = (false, 1.2e6);
    world.run(5.0);
    world.path.rate_bps = 600_000.0;
    world.run(0.4);
    let queue_us = world.estimator.queue_us();
    assert!(queue_us > 100_000, "{queue_us}");
    world.estimator.report(0.0, Some(20_000), world.now_us());
    assert_eq!(world.estimator.queue_us(), queue_us);
}

#[test]
fn random_losses_do_not_keep_the_rate_down() {
    for seed in SEEDS {
        let mut world = World::new(LIMITS, Path { loss: 0.03, ..Path::of(5e6) }, seed);
        show("3 % loss, first 5 s", 5e6, &world.run(5.0));
        let seen = world.run(30.0);
        show("3 % loss, then", 5e6, &seen);
        assert_uses(&seen, 5e6, 0.7, 150.0);
    }
}

#[test]
fn jitter_is_not_taken_for_congestion() {
    for seed in SEEDS {
        let mut world = World::new(LIMITS, Path { jitter_us: 20_000, ..Path::of(5e6) }, seed);
        show("20 ms jitter, first 5 s", 5e6, &world.run(5.0));
        let seen = world.run(30.0);
        show("20 ms jitter, then", 5e6, &seen);
        assert_uses(&seen, 5e6, 0.7, 200.0);
    }
}

#[test]
fn keyframes_are_not_taken_for_congestion() {
    for seed in SEEDS {
        let mut world = World::new(LIMITS, Path::of(5e6), seed);
        world.keyframe_every = Some(60);
        show("keyframes, first 5 s", 5e6, &world.run(5.0));
        let seen = world.run(30.0);
        show("keyframes, then", 5e6, &seen);
        assert_uses(&seen, 5e6, 0.7, 250.0);
    }
}

#[test]
fn probes_find_capacity_that_the_application_does_not_use() {
    for seed in SEEDS {
        let mut world = World::new(LIMITS, Path::of(8e6), seed);
        world.application_bps = 0.5e6;
        world.run(5.0);
        let seen = world.run(20.0);
        show("application at 0.5 of 8 Mbit/s", 8e6, &seen);
        assert_uses(&seen, 8e6, 0.5, 50.0);
    }
}

#[test]
fn heavy_losses_lower_the_rate() {
    for seed in SEEDS {
        // A policer: no queue to speak of, everything above the rate is dropped.
        let mut world = World::new(LIMITS, Path { max_queue_us: 20_000, ..Path::of(2e6) }, seed);
        world.run(10.0);
        let seen = world.run(20.0);
        show("short queue", 2e6, &seen);
        assert!(seen.mean_estimate_bps() < 2.6e6 && seen.goodput_bps() > 1.2e6);
    }
}

#[test]
fn silence_of_the_viewer_lowers_the_rate() {
    let mut world = World::new(LIMITS, Path::of(5e6), 1);
    world.run(10.0);
    let before = world.estimator.estimate_bps();
    world.sends_feedback = false;
    world.run(10.0);
    assert!(world.estimator.estimate_bps() < before / 4);
    world.sends_feedback = true;
    world.run(15.0);
    assert!(world.estimator.estimate_bps() > before / 2, "it comes back");
}

#[test]
fn viewers_without_transport_feedback_are_steered_by_reports() {
    let mut world = World::new(LIMITS, Path::of(5e6), 1);
    world.sends_feedback = false;
    for _ in 0..20 {
        world.run(1.0);
        let now_us = world.now_us();
        world.estimator.report(0.0, Some(50_000), now_us);
    }
    let grown = world.estimator.estimate_bps();
    assert!(grown > 2 * LIMITS.start_bps, "{grown}");
    for _ in 0..10 {
        world.run(1.0);
        let now_us = world.now_us();
        world.estimator.report(0.3, Some(50_000), now_us);
    }
    assert!(world.estimator.estimate_bps() < grown / 2);
}

#[test]
fn a_receivers_own_estimate_caps_ours_for_a_while() {
    let mut world = World::new(LIMITS, Path::of(5e6), 1);
    world.run(10.0);
    let now_us = world.now_us();
    world.estimator.remb(300_000, now_us);
    assert_eq!(world.estimator.estimate_bps(), 300_000);
    world.run(20.0);
    assert!(world.estimator.estimate_bps() > 300_000);
}

#[test]
fn limits_bound_the_estimate() {
    let mut world = World::new(LIMITS, Path::of(5e6), 1);
    world.run(5.0);
    world.estimator.set_limits(Limits { max_bps: 1_000_000, ..LIMITS });
    assert_eq!(world.estimator.estimate_bps(), 1_000_000);
    assert!(world.run(10.0).mean_estimate_bps() <= 1e6);
}
