//! What an operator does by hand: `rollback`, `approve`, `veto`, `resume`, `pin`, `unpin`,
//! `quarantine`, `unquarantine` and `trust`.

use std::{collections::BTreeSet, io::Write};

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Serialize;

use super::{EXIT_REFUSED, client, follow, history::escaped, terminal::Look, text};
use crate::{
    model::{Region, Strategy},
    web::{
        acts::{ActView, NameRequest, RollbackRequest, SayRequest},
        operator::TOKEN_VARIABLE,
    },
};

/// To whom the order is given, and by whom.
#[derive(Debug, Args)]
pub(super) struct Desk {
    /// Why; it stands in history and in every message about it.
    #[arg(long)]
    reason: Option<String>,
    /// Who says so.
    #[arg(long, env = "USER")]
    by: Option<String>,
    /// Where the daemon's API is.
    #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
    url: String,
    /// The operator's token.
    #[arg(skip = std::env::var(TOKEN_VARIABLE).ok())]
    token: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum How {
    /// A few machines at a time, region by region.
    Rolling,
    /// One machine first, then everything at once.
    Immediate,
}

/// The orders; all of them need `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
#[derive(Debug, Subcommand)]
pub(super) enum Act {
    /// Go back to another release, by hand: at once, with the same care as by itself.
    ///
    /// Without --to it goes to the newest release that was seen healthy and is not the one that
    /// runs. What runs is treated as rolled back from then on. A newer release ends it.
    ///
    /// Exit codes: 0 done (with --watch: completed); 4 refused, with the reason; 5 with --watch:
    /// ended without being completed.
    Rollback {
        app: String,
        /// The release: its number (v41), its tag, or its digest or a beginning of it.
        #[arg(long, value_name = "RELEASE")]
        to: Option<String>,
        /// Only this region; may be given several times.
        #[arg(long = "region", value_name = "REGION")]
        regions: Vec<String>,
        /// Instead of the policy's strategy.
        #[arg(long, value_enum)]
        strategy: Option<How>,
        /// Also across migrations, to a release that was never seen healthy, or when the registry
        /// does not answer.
        #[arg(long)]
        force: bool,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Show how it goes until it ends. Ending this command does not end the rollback.
        #[arg(long, conflicts_with = "dry_run")]
        watch: bool,
        #[command(flatten)]
        desk: Desk,
    },
    /// Say yes to the rollback that waits for it (mode = "approve").
    Approve {
        app: String,
        #[command(flatten)]
        desk: Desk,
    },
    /// Call off the rollback that is counted down or waits for a yes; the release is not rolled
    /// back by itself until `waveoff resume`.
    Veto {
        app: String,
        #[command(flatten)]
        desk: Desk,
    },
    /// Let a rollback that came to a stop go on, or end a veto.
    Resume {
        app: String,
        #[command(flatten)]
        desk: Desk,
    },
    /// Always go back to this release, whatever is trusted later.
    Pin {
        app: String,
        release: String,
        #[command(flatten)]
        desk: Desk,
    },
    /// End that.
    Unpin {
        app: String,
        #[command(flatten)]
        desk: Desk,
    },
    /// Treat a release as one that was rolled back: never go back to it, watch a redeploy of it
    /// without a warm-up.
    Quarantine {
        app: String,
        release: String,
        #[command(flatten)]
        desk: Desk,
    },
    /// End that.
    Unquarantine {
        app: String,
        release: String,
        #[command(flatten)]
        desk: Desk,
    },
    /// Vouch for a release: it is trusted, and what is said against it is called off.
    Trust {
        app: String,
        release: String,
        #[command(flatten)]
        desk: Desk,
    },
}

/// One order, taken apart.
struct Order {
    word: &'static str,
    app: String,
    request: Request,
    watch: bool,
    desk: Desk,
}

/// What is sent with it.
#[derive(Serialize)]
#[serde(untagged)]
enum Request {
    Say(SayRequest),
    About(NameRequest),
    Rollback(RollbackRequest),
}

impl Request {
    fn signed(self, by: Option<String>, reason: Option<String>) -> Self {
        match self {
            Self::Say(_) => Self::Say(SayRequest { by, reason }),
            Self::About(NameRequest { release, .. }) => {
                Self::About(NameRequest { release, by, reason })
            }
            Self::Rollback(request) => Self::Rollback(RollbackRequest { by, reason, ..request }),
        }
    }
}

impl Act {
    fn order(self) -> Order {
        let plain = |word, app, desk| Order {
            word,
            app,
            request: Request::Say(SayRequest::default()),
            watch: false,
            desk,
        };
        let about = |word, app, release, desk| Order {
            request: Request::About(NameRequest { release, ..NameRequest::default() }),
            ..plain(word, app, desk)
        };
        match self {
            Self::Rollback { app, to, regions, strategy, force, dry_run, watch, desk } => Order {
                request: Request::Rollback(RollbackRequest {
                    to,
                    regions: regions.into_iter().map(Region::new).collect::<BTreeSet<_>>(),
                    strategy: strategy.map(|how| match how {
                        How::Rolling => Strategy::Rolling,
                        How::Immediate => Strategy::Immediate,
                    }),
                    force,
                    dry_run,
                    ..RollbackRequest::default()
                }),
                watch,
                ..plain("rollback", app, desk)
            },
            Self::Approve { app, desk } => plain("approve", app, desk),
            Self::Veto { app, desk } => plain("veto", app, desk),
            Self::Resume { app, desk } => plain("resume", app, desk),
            Self::Unpin { app, desk } => plain("unpin", app, desk),
            Self::Pin { app, release, desk } => about("pin", app, release, desk),
            Self::Quarantine { app, release, desk } => about("quarantine", app, release, desk),
            Self::Unquarantine { app, release, desk } => about("unquarantine", app, release, desk),
            Self::Trust { app, release, desk } => about("trust", app, release, desk),
        }
    }
}

/// Gives the order and says what came of it. Exit code 4: refused.
///
/// # Errors
/// When there is no token, or the daemon cannot be reached or understood.
pub(super) async fn run(act: Act, out: &mut dyn Write) -> anyhow::Result<i32> {
    let Order { word, app, request, watch, desk } = act.order();
    let Some(token) = desk.token.as_deref().map(str::trim).filter(|token| !token.is_empty()) else {
        bail!("{TOKEN_VARIABLE} is not set: set it to the value that the daemon has");
    };
    let seen = if watch { follow::newest(&desk.url, &app).await? } else { 0 };
    let path = format!("/api/v1/apps/{}/{word}", escaped(&app));
    let body = serde_json::to_string(&request.signed(desk.by, desk.reason))?;
    let answer = match client::order(&desk.url, Method::POST, &path, token, body).await {
        Ok(answer) => answer,
        Err(error) => {
            let refused = error.downcast::<client::Refused>()?;
            if desk.json {
                writeln!(out, "{}", refused.body.trim_end())?;
            } else {
                text::complain(&format!("waveoff: {}", refused.text))?;
            }
            return Ok(EXIT_REFUSED);
        }
    };
    if desk.json {
        writeln!(out, "{}", answer.trim_end())?;
    } else {
        let view: ActView = client::parse(&desk.url, &answer)?;
        let said = text::clean_lines(&view.text);
        writeln!(out, "{}", text::fit(&said, Look::of_stdout().width))?;
    }
    if watch {
        return follow::run(&desk.url, &app, seen, desk.json, out).await;
    }
    Ok(0)
}
