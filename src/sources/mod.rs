//! Where the daemon reads what thresholds want to know, apart from the platform's own lists.
//!
//! Every source is behind one trait: it is told which machines there are and what is wanted of
//! them, and answers with a sample per machine, or why it is blind. Sources are blind each by
//! itself. `pages` reads the machines' own metrics pages, `servers` asks metrics servers, `probes`
//! makes requests to the machines.

pub mod pages;
pub mod probes;
pub mod servers;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::config::Config;
use crate::model::{AppName, Machine, MachineSample, Policy, SourceName, Wanted};

/// What a source is asked in a round.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub app: &'a AppName,
    /// Which source is meant, of those that the asked one stands for.
    pub source: &'a SourceName,
    /// When the machines were listed: what happened since may not be in the list.
    pub listed: Timestamp,
    /// All machines of the app; a source knows which of them can tell anything.
    pub machines: &'a [Machine],
    /// Never empty.
    pub wanted: &'a [Wanted],
    /// Where the policy says that things are.
    pub policy: &'a Policy,
}

/// What a source says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// At most one per machine, failed ones included; of one that runs no more what is told late.
    pub samples: Vec<MachineSample>,
    /// Why it sees nothing at all, for people.
    pub blind: Option<String>,
}

/// Something that thresholds are read from. It bounds its own time, and never fails as a whole
/// without saying so in its answer.
#[async_trait]
pub trait Source: Send + Sync {
    /// Whether it stands for this source.
    fn has(&self, source: &SourceName) -> bool;
    /// What tells nothing to anybody, and why: it is told of once for the whole organization.
    fn troubles(&self) -> Vec<(SourceName, String)> {
        Vec::new()
    }
    /// Whether somebody was answered by this source, the last time it was asked.
    fn is_answered(&self, _source: &SourceName) -> bool {
        false
    }
    /// Takes a configuration that is in force from now on.
    fn configure(&self, _config: &Config) {}
    async fn read(&self, question: Question<'_>) -> Answer;
}
