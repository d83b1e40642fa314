//! What one block costs the ratio detector, beside the plain share of bad events over a sliding
//! window that fixed-window rules compute, on the same blocks.

use std::{collections::VecDeque, time::Duration};

use divan::{Bencher, black_box, counter::ItemsCount};
use jiff::Timestamp;
use waveoff::threshold::detect::{RatioDetector, RatioSettings};

const BLOCKS: u32 = 360;

const SETTINGS: RatioSettings = RatioSettings {
    alpha: 1e-3,
    watch: Duration::from_secs(1800),
    block: Duration::from_secs(5),
    early: Duration::ZERO,
    from_start: true,
};

fn main() {
    divan::main();
}

/// Half an hour of blocks: 500 events each, about 1 % of them bad.
fn blocks() -> impl Iterator<Item = (Timestamp, f64, f64)> {
    (1..=BLOCKS).map(|block| {
        let at = Timestamp::UNIX_EPOCH + Duration::from_secs(u64::from(block) * 5);
        (at, 500.0, f64::from(block * 7 % 11))
    })
}

fn detector(bencher: Bencher<'_, '_>, strict: bool) {
    let blocks: Vec<_> = blocks().collect();
    bencher.counter(ItemsCount::new(BLOCKS)).bench(|| {
        let mut detector = RatioDetector::new(0.02, strict);
        detector.start(Timestamp::UNIX_EPOCH);
        for (at, n, k) in black_box(&blocks) {
            detector.add(*n, *k);
            detector.close_if_due(*at, &SETTINGS);
        }
        detector.alarmed()
    });
}

#[divan::bench]
fn default_detector_half_an_hour(bencher: Bencher<'_, '_>) {
    detector(bencher, false);
}

#[divan::bench]
fn strict_detector_half_an_hour(bencher: Bencher<'_, '_>) {
    detector(bencher, true);
}

/// One minute's share above 2 % at two of three looks.
#[divan::bench]
fn plain_window_half_an_hour(bencher: Bencher<'_, '_>) {
    let blocks: Vec<_> = blocks().collect();
    bencher.counter(ItemsCount::new(BLOCKS)).bench(|| {
        let mut window: VecDeque<(f64, f64)> = VecDeque::new();
        let mut looks = [false; 3];
        let mut alarmed = false;
        for (index, (_, n, k)) in black_box(&blocks).iter().enumerate() {
            window.push_back((*n, *k));
            if window.len() > 12 {
                window.pop_front();
            }
            let (n, k) =
                window.iter().fold((0.0, 0.0), |sum, block| (sum.0 + block.0, sum.1 + block.1));
            if let Some(look) = looks.get_mut(index % 3) {
                *look = k / n > 0.02;
            }
            alarmed |= looks.iter().filter(|above| **above).count() >= 2;
        }
        alarmed
    });
}

/// Saving and loading a detector, as once per round.
#[divan::bench]
fn json_round_trip(bencher: Bencher<'_, '_>) {
    let mut detector = RatioDetector::new(0.02, false);
    detector.start(Timestamp::UNIX_EPOCH);
    for (at, n, k) in blocks() {
        detector.add(n, k);
        detector.close_if_due(at, &SETTINGS);
    }
    bencher.bench(|| {
        let text = serde_json::to_string(black_box(&detector)).unwrap_or_default();
        serde_json::from_str::<RatioDetector>(&text)
    });
}
