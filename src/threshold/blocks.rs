//! The last blocks of a detector, for those who want to know how it came to its odds.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Block, Tally};

/// Blocks that are kept.
pub const BLOCKS_KEPT: usize = 20;

/// The newest blocks, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    kept: VecDeque<Block>,
    /// What the control had counted when the last one was closed.
    control: Tally,
}

impl Blocks {
    /// Notes a block that was closed with these counts; `control` is all that was counted so far on
    /// the machines that run the known-good release.
    pub(super) fn close(&mut self, at: Timestamp, tally: Tally, ln_odds: f64, control: Tally) {
        let before = std::mem::replace(&mut self.control, control);
        let control = Tally { n: control.n - before.n, k: control.k - before.k };
        self.kept.push_back(Block { at, tally, ln_odds, control });
        if self.kept.len() > BLOCKS_KEPT {
            self.kept.pop_front();
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Block> {
        self.kept.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_blocks_are_kept_each_with_what_the_control_counted_meanwhile() {
        let mut blocks = Blocks::default();
        let mut control = Tally::default();
        for second in 0..100 {
            control.add(10.0, 1.0);
            let at = Timestamp::from_second(second).unwrap();
            blocks.close(at, Tally { n: 100.0, k: 2.0 }, 0.5, control);
        }
        let kept: Vec<&Block> = blocks.iter().collect();
        assert_eq!(kept.len(), BLOCKS_KEPT);
        assert_eq!(kept.last().map(|block| block.at.as_second()), Some(99));
        assert!(kept.iter().all(|block| block.control == Tally { n: 10.0, k: 1.0 }));
    }
}
