use super::*;

const FLOWING: Duration = Duration::from_millis(30);
const RATES: [u64; 3] = [300_000, 1_000_000, 2_500_000];
const STEP: Duration = Duration::from_millis(50);

/// A viewer whose layers change as soon as another is chosen, but for those that do not flow.
struct Viewer {
    selector: LayerSelector,
    layers: Vec<LayerState>,
    shown: u8,
    now: Instant,
    /// When another layer was chosen, and which.
    choices: Vec<(Duration, u8)>,
    start: Instant,
}

impl Viewer {
    fn new(start_bps: u64) -> Self {
        let now = Instant::now();
        let layers: Vec<LayerState> = RATES.iter().map(|bps| LayerState { bps: *bps, silence: FLOWING }).collect();
        let selector = LayerSelector::new(start_bps, &layers, now);
        Self { shown: selector.target(), selector, layers, now, choices: Vec::new(), start: now }
    }

    fn run(&mut self, duration: Duration, estimate_bps: impl Fn(&Self) -> u64) {
        self.run_with_loss(duration, 0.0, estimate_bps);
    }

    fn run_with_loss(&mut self, duration: Duration, loss: f32, estimate_bps: impl Fn(&Self) -> u64) {
        let end = self.now + duration;
        while self.now < end {
            self.now += STEP;
            let estimate_bps = estimate_bps(self);
            let conditions = Conditions { layers: &self.layers, shown: self.shown, estimate_bps, loss };
            let before = self.selector.target();
            self.selector.update(&conditions, self.now);
            let target = self.selector.target();
            assert!(usize::from(target) < self.layers.len());
            if target != before {
                self.choices.push((self.now - self.start, target));
            }
            if self.layers[usize::from(target)].silence <= STOPPED_AFTER {
                self.shown = target;
            }
        }
    }

    fn stop(&mut self, layer: usize) {
        self.layers[layer].silence = Duration::from_secs(1);
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_newcomer_starts_with_the_highest_layer_that_its_line_is_thought_to_take() {
    for (start_bps, layer) in [(0, 0), (299_999, 0), (300_000, 0), (1_000_000, 1), (2_499_999, 1), (20_000_000, 2)] {
        assert_eq!(Viewer::new(start_bps).selector.target(), layer, "{start_bps}");
    }
}

#[test]
fn a_dip_shorter_than_two_tenths_changes_nothing_and_a_longer_one_goes_down() {
    let mut viewer = Viewer::new(2_500_000);
    viewer.run(Duration::from_millis(150), |_| 2_000_000);
    viewer.run(seconds(1), |_| 2_500_000);
    viewer.run(Duration::from_millis(150), |_| 2_000_000);
    assert_eq!(viewer.choices, []);
    viewer.run(Duration::from_millis(200), |_| 2_000_000);
    assert_eq!(viewer.shown, 1);
}

#[test]
fn a_collapse_goes_down_at_once_and_as_far_as_needed() {
    let mut viewer = Viewer::new(2_500_000);
    viewer.run(STEP, |_| 400_000);
    assert_eq!(viewer.choices, [(STEP, 0)]);
}

#[test]
fn a_line_that_takes_nothing_keeps_the_lowest_layer() {
    let mut viewer = Viewer::new(0);
    viewer.run(seconds(60), |_| 10_000);
    assert_eq!(viewer.choices, []);
}

#[test]
fn going_up_takes_a_second_of_more_than_the_next_layer_needs() {
    let mut viewer = Viewer::new(300_000);
    viewer.run(seconds(60), |_| 1_149_000);
    assert_eq!(viewer.choices, [], "between what keeps a layer and what wins it");
    viewer.run(Duration::from_millis(900), |_| 1_200_000);
    viewer.run(STEP, |_| 1_000_000);
    viewer.run(Duration::from_millis(1_000), |_| 1_200_000);
    assert_eq!(viewer.choices, [], "the second begins anew");
    viewer.run(STEP, |_| 1_200_000);
    assert_eq!(viewer.shown, 1);
}

#[test]
fn a_line_that_takes_everything_is_gone_up_to_in_one_step() {
    let mut viewer = Viewer::new(300_000);
    viewer.run(seconds(2), |_| 5_000_000);
    assert_eq!(viewer.choices.iter().map(|(_, layer)| *layer).collect::<Vec<_>>(), [2]);
}

#[test]
fn nothing_is_tried_while_much_is_lost() {
    let mut viewer = Viewer::new(300_000);
    viewer.run_with_loss(seconds(60), 0.2, |_| 5_000_000);
    assert_eq!(viewer.choices, []);
}

#[test]
fn steps_up_that_fail_come_less_and_less_often() {
    let mut viewer = Viewer::new(1_000_000);
    // A line that seems to take more than it does, until it is sent more.
    viewer.run(seconds(300), |viewer| if viewer.shown == 2 { 1_400_000 } else { 3_000_000 });
    let ups: Vec<Duration> = viewer.choices.iter().filter(|(_, layer)| *layer == 2).map(|(at, _)| *at).collect();
    let gaps: Vec<u64> = ups.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(gaps[..5], [3, 5, 9, 17, 33], "{gaps:?}");
    assert!(gaps[5..].iter().all(|gap| *gap == 61), "{gaps:?}");
}

#[test]
fn a_step_up_that_lasts_makes_up_for_failures() {
    let mut viewer = Viewer::new(1_000_000);
    viewer.run(seconds(60), |viewer| if viewer.shown == 2 { 1_400_000 } else { 3_000_000 });
    viewer.run(seconds(120), |_| 3_000_000);
    assert_eq!(viewer.shown, 2);
    viewer.run(seconds(1), |_| 1_400_000);
    viewer.choices.clear();
    viewer.run(seconds(2), |_| 3_000_000);
    assert_eq!(viewer.choices.len(), 1, "tried again without delay");
}

#[test]
fn a_line_that_wavers_about_a_layers_rate_is_not_sent_to_and_fro() {
    let mut viewer = Viewer::new(1_000_000);
    viewer.run(seconds(600), |viewer| {
        let second = viewer.now.duration_since(viewer.start).as_millis() / 700;
        if second % 2 == 0 { 2_400_000 } else { 2_800_000 }
    });
    assert!(viewer.choices.len() <= 1, "{:?}", viewer.choices);
}

#[test]
fn a_layer_that_stops_is_left_for_the_best_that_flows() {
    let mut viewer = Viewer::new(2_500_000);
    viewer.run(seconds(1), |_| 3_000_000);
    viewer.stop(2);
    viewer.run(seconds(1), |_| 3_000_000);
    assert_eq!(viewer.shown, 1);
    viewer.stop(1);
    viewer.run(seconds(1), |_| 3_000_000);
    assert_eq!(viewer.shown, 0);
}

#[test]
fn a_stream_at_rest_is_left_where_it_is() {
    let mut viewer = Viewer::new(2_500_000);
    (0..3).for_each(|layer| viewer.stop(layer));
    viewer.run(seconds(60), |_| 3_000_000);
    assert_eq!(viewer.choices, []);
}

#[test]
fn a_layer_that_does_not_begin_is_given_up_and_tried_less_and_less_often() {
    let mut viewer = Viewer::new(1_000_000);
    viewer.stop(2);
    viewer.run(seconds(120), |_| 5_000_000);
    assert_eq!(viewer.shown, 1);
    let tried = viewer.choices.iter().filter(|(_, layer)| *layer == 2).count();
    assert!((3..=6).contains(&tried), "{tried}");
    viewer.layers[2].silence = FLOWING;
    viewer.run(seconds(61), |_| 5_000_000);
    assert_eq!(viewer.shown, 2);
}

#[test]
fn a_newcomer_waits_for_no_layer_that_does_not_flow() {
    let mut viewer = Viewer::new(2_500_000);
    viewer.stop(2);
    viewer.run(seconds(1), |_| 2_500_000);
    assert_eq!(viewer.shown, 1);
}

#[test]
fn layers_that_are_no_more_are_left() {
    let mut viewer = Viewer::new(2_500_000);
    viewer.layers.truncate(1);
    viewer.run(STEP, |_| 2_500_000);
    assert_eq!(viewer.shown, 0);
}
