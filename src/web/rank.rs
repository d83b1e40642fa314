//! How bad an app is against others, and the one thing that has to be known of it besides: for lists.

use super::{
    Phase,
    view::{AppView, ProtectionLevel},
};
use crate::{
    model::{HoldReason, Mode, Signed, Verdict},
    notify::text,
};

/// Where an app stands in a list; the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Bad, and nothing is done until a person says so.
    NeedsSomebody,
    /// Bad, and being undone.
    BeingUndone,
    /// A threshold is exceeded.
    Degraded,
    /// Nothing can be seen.
    Blind,
    /// Over, and still to be looked at.
    Undone,
    /// Nothing would be done if it were bad.
    Braked,
    UnderWatch,
    /// Nothing is trusted yet.
    Learning,
    Steady,
}

impl Rank {
    /// Whether its release is bad, or seems so.
    pub fn is_trouble(self) -> bool {
        self <= Self::Degraded
    }
}

impl AppView {
    /// How bad it is.
    pub fn rank(&self) -> Rank {
        let breaches = self.evidence.iter().any(|one| one.verdict == Verdict::Breach);
        match self.phase {
            Phase::Held | Phase::AwaitingApproval => Rank::NeedsSomebody,
            Phase::CountingDown | Phase::RollingBack | Phase::Confirming => Rank::BeingUndone,
            Phase::Degraded => Rank::Degraded,
            Phase::Deploying | Phase::Baking | Phase::Learning if breaches => Rank::Degraded,
            _ if self.blind.is_some() => Rank::Blind,
            Phase::RolledBack => Rank::Undone,
            _ if self.operator_hold.is_some() => Rank::Braked,
            Phase::Deploying | Phase::Baking => Rank::UnderWatch,
            Phase::Learning => Rank::Learning,
            Phase::Steady => Rank::Steady,
        }
    }

    /// Who vetoed the rollback, where the reason of a hold does not say so already.
    pub fn vetoed_besides(&self) -> Option<&Signed> {
        let says = |by: &Signed| text::hold(&HoldReason::Vetoed { by: by.clone() });
        let vetoed = self.vetoed.as_ref();
        vetoed.filter(|by| self.hold.as_ref().is_none_or(|hold| *hold != says(by)))
    }

    /// What a person has to know besides; the most urgent alone, and nothing where all is well.
    pub fn remark(&self) -> String {
        if let Some(hold) = &self.hold {
            hold.clone()
        } else if let Some(blind) = &self.blind {
            format!("blind: {blind}")
        } else if let Some(hold) = &self.operator_hold {
            format!("held by {}: {}", hold.by, hold.reason)
        } else if let Some(Signed { by, reason, .. }) = &self.vetoed {
            let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            format!("vetoed by {by}{why}")
        } else if self.mode == Mode::Observe {
            "observes only".to_owned()
        } else if self.protection.level == ProtectionLevel::None {
            "not protected yet".to_owned()
        } else {
            String::new()
        }
    }
}
