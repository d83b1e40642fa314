//! One blob on its way to the mirror, piece by piece: never held whole, hashed as it passes, and
//! taken up again where the registry says that it stands.
//!
//! A blob is sent in segments, each acknowledged by the registry with how much it has. What was
//! acknowledged is not sent again. Registries that take no segments are sent the blob as a whole.

use std::time::Duration;

use reqwest::{Body, Method, Response, Url};
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, time::timeout};

use super::{
    copy::{Ends, Progress},
    digest_from,
    manifest::Blob,
    talk::Talk,
};
use crate::{
    fly::{
        Answer,
        http::{Answer as Reply, Call, Patience},
        limits::Action,
    },
    model::Digest,
    ports::{CopyError, CopySide, PlatformError},
};

/// No byte for so long: the source does not answer.
const STALLED: Duration = Duration::from_secs(30);
/// A segment, at some 30 kB a second; longer for a whole blob.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(300);
const WHOLE_PATIENCE: Duration = Duration::from_secs(3600);
/// How often a source may break off in one attempt at a blob.
const BREAKS_MAX: u32 = 5;
/// Pieces on their way between the two connections.
const PIECES: usize = 4;
/// Statuses by which registries refuse segments.
const NO_SEGMENTS: &[u16] = &[400, 404, 405, 411, 415, 416, 501];

/// An upload that the registry has begun.
pub(super) struct Upload {
    place: Url,
    /// Bytes that were acknowledged, and their sum.
    at: u64,
    sum: Sha256,
    /// Bytes that the registry has: some of a segment that broke may be among them.
    has: u64,
    /// The registry takes no segments.
    whole: bool,
    /// Smallest segment that the registry takes.
    least: u64,
}

fn source(error: PlatformError) -> CopyError {
    CopyError { side: CopySide::Source, error }
}

fn mirror(error: PlatformError) -> CopyError {
    CopyError { side: CopySide::Mirror, error }
}

fn call(talk: &Talk<'_>, method: Method, url: Url) -> Call {
    Call {
        method,
        accept: "*/*",
        answers: &[307, 308, 401],
        patience: Patience::seconds(30, 60),
        ..Call::get(Action::Blob, talk.place.repository.as_str(), url)
    }
}

/// Begins an upload, or has the blob of another repository named anew: then there is none.
pub(super) async fn begin(
    talk: &Talk<'_>,
    digest: &Digest,
    from: Option<&str>,
) -> Answer<Option<Upload>> {
    let mut url = talk.place.url(&["blobs", "uploads", ""]);
    if let Some(from) = from {
        url.query_pairs_mut().append_pair("mount", digest.as_str()).append_pair("from", from);
    }
    let answer = talk.ask(call(talk, Method::POST, url.clone())).await?.answer;
    match answer.status {
        201 => Ok(None),
        202 => Ok(Some(Upload {
            place: location(talk, &answer, &url)?,
            at: 0,
            sum: Sha256::new(),
            has: 0,
            whole: false,
            least: answer
                .header("oci-chunk-min-length")
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
        })),
        _ if answer.is_success() => Err(answer.unreadable("neither an upload nor a mount")),
        _ => Err(talk.failure(&answer)),
    }
}

/// Where an upload goes on. The place may be anybody's; never one without TLS, where TLS was asked.
fn location(talk: &Talk<'_>, answer: &Reply, base: &Url) -> Answer<Url> {
    let place = answer.header("location").and_then(|place| base.join(place).ok());
    let place = place.filter(|place| {
        place.has_host()
            && place.username().is_empty()
            && (place.scheme() == "https" || place.origin() == talk.place.base.origin())
    });
    place.ok_or_else(|| answer.unreadable("no place with TLS to upload to"))
}

/// `0-41`: how many bytes a registry has.
fn received(answer: &Reply) -> Option<u64> {
    let (_, last) = answer.header("range")?.trim().trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok()?;
    // Nothing at all is written `0-0` by most, which is one byte as well: then it is sent again.
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

impl Upload {
    /// Bytes that are known to have arrived.
    pub(super) fn received(&self) -> u64 {
        self.has
    }

    /// A call to where the upload is: who we are is told to the registry alone.
    fn here(&self, talk: &Talk<'_>, method: Method, url: Url) -> Call {
        let is_registry = url.origin() == talk.place.base.origin();
        let authorization = talk.authorization().filter(|_| is_registry);
        Call { authorization, ..call(talk, method, url) }
    }

    /// Asks how much the registry has. `false`: it does not know the upload any more, or has
    /// something else than what we sent.
    pub(super) async fn look(&mut self, talk: &Talk<'_>) -> bool {
        if self.whole {
            return false;
        }
        let asking = talk.ask(Call {
            answers: &[307, 308, 400, 401, 403, 404, 416],
            ..call(talk, Method::GET, self.place.clone())
        });
        let Ok(heard) = asking.await else { return false };
        let Some(has) = received(&heard.answer).filter(|_| heard.answer.is_success()) else {
            return false;
        };
        if let Ok(place) = location(talk, &heard.answer, &self.place) {
            self.place = place;
        }
        self.has = has;
        // What is behind what it acknowledged cannot be trusted.
        has >= self.at
    }

    /// Sends what is missing, and ends the upload.
    pub(super) async fn go_on(
        &mut self,
        ends: &Ends<'_>,
        blob: &Blob,
        progress: &mut Progress<'_>,
    ) -> Result<(), CopyError> {
        if self.at < blob.size {
            let mut feed = Feed::open(&ends.from, blob, self.at).await.map_err(source)?;
            if self.has > self.at {
                // A part of the segment that broke arrived: it is summed up, and not sent again.
                let mut left = self.has.min(blob.size) - self.at;
                while left > 0 {
                    let piece = feed.piece(left).await.map_err(source)?;
                    left -= length(&piece);
                    self.at += length(&piece);
                    self.sum.update(&piece);
                }
            }
            while self.at < blob.size && !self.whole {
                self.send_segment(ends, blob, &mut feed, progress).await?;
            }
        }
        if self.whole {
            return self.send_whole(ends, blob, progress).await;
        }
        if digest_from(self.sum.clone()) != blob.digest {
            return Err(source(another(blob)));
        }
        let call = Call {
            patience: Patience::seconds(300, 300),
            ..self.here(&ends.to, Method::PUT, self.end(blob))
        };
        let answer = ends.to.fly.caller.send(&call, Body::from("")).await;
        finished(&ends.to, &answer.map_err(|failure| mirror(failure.error))?)
    }

    fn end(&self, blob: &Blob) -> Url {
        let mut url = self.place.clone();
        url.query_pairs_mut().append_pair("digest", blob.digest.as_str());
        url
    }

    async fn send_segment(
        &mut self,
        ends: &Ends<'_>,
        blob: &Blob,
        feed: &mut Feed<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), CopyError> {
        let most = ends.to.fly.caller.tuning().segment.max(self.least);
        let size = most.min(blob.size - self.at);
        let call = Call {
            answers: NO_SEGMENTS_OR_401,
            extra: vec![
                ("content-type", "application/octet-stream".to_owned()),
                ("content-length", size.to_string()),
                ("content-range", format!("{}-{}", self.at, self.at + size - 1)),
            ],
            patience: Patience { attempt: SEGMENT_PATIENCE, total: SEGMENT_PATIENCE },
            ..self.here(&ends.to, Method::PATCH, self.place.clone())
        };
        let (answer, sum) = pump(ends, &call, feed, size, self.sum.clone(), progress).await?;
        if self.at == 0 && NO_SEGMENTS.contains(&answer.status) {
            self.whole = true;
            return Ok(());
        }
        if !answer.is_success() {
            return Err(mirror(stale(&ends.to, &answer)));
        }
        let sum =
            sum.ok_or_else(|| mirror(answer.unreadable("success before the segment was sent")))?;
        self.place = location(&ends.to, &answer, &self.place).map_err(mirror)?;
        if received(&answer).is_some_and(|has| has != self.at + size) {
            return Err(mirror(answer.unreadable("another length than what was sent")));
        }
        self.at += size;
        self.has = self.at;
        self.sum = sum;
        Ok(())
    }

    /// Sends the whole blob in one request, in an upload of its own.
    async fn send_whole(
        &mut self,
        ends: &Ends<'_>,
        blob: &Blob,
        progress: &mut Progress<'_>,
    ) -> Result<(), CopyError> {
        if let Some(fresh) = begin(&ends.to, &blob.digest, None).await.map_err(mirror)? {
            self.place = fresh.place;
        }
        let mut feed = Feed::open(&ends.from, blob, 0).await.map_err(source)?;
        let call = Call {
            extra: vec![
                ("content-type", "application/octet-stream".to_owned()),
                ("content-length", blob.size.to_string()),
            ],
            patience: Patience { attempt: WHOLE_PATIENCE, total: WHOLE_PATIENCE },
            ..self.here(&ends.to, Method::PUT, self.end(blob))
        };
        let (answer, sum) =
            pump(ends, &call, &mut feed, blob.size, Sha256::new(), progress).await?;
        if sum.is_some_and(|sum| digest_from(sum) != blob.digest) {
            return Err(source(another(blob)));
        }
        finished(&ends.to, &answer)
    }
}

const NO_SEGMENTS_OR_401: &[u16] = &[400, 401, 404, 405, 411, 415, 416, 501];

fn another(blob: &Blob) -> PlatformError {
    PlatformError::Unreadable(format!("blob {}: its bytes are others", blob.digest.short()))
}

/// A token may run out while a blob is sent: asking how far it is buys a new one.
fn stale(talk: &Talk<'_>, answer: &Reply) -> PlatformError {
    match talk.failure(answer) {
        PlatformError::Denied(text) if answer.status == 401 => PlatformError::Unavailable(text),
        // Out of step with the registry, which can be put right.
        PlatformError::Refused(text) if answer.status == 416 => PlatformError::Unavailable(text),
        other => other,
    }
}

fn finished(talk: &Talk<'_>, answer: &Reply) -> Result<(), CopyError> {
    if answer.is_success() { Ok(()) } else { Err(mirror(stale(talk, answer))) }
}

/// Sends `size` bytes of the feed as the body of a call. The sum is there when all of them were.
async fn pump(
    ends: &Ends<'_>,
    call: &Call,
    feed: &mut Feed<'_>,
    size: u64,
    mut sum: Sha256,
    progress: &mut Progress<'_>,
) -> Result<(Reply, Option<Sha256>), CopyError> {
    let (pieces, body) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(PIECES);
    let body = futures_util::stream::unfold(body, |mut body| async move {
        let piece = body.recv().await?;
        Some((piece, body))
    });
    let fed = async move {
        let mut left = size;
        while left > 0 {
            let piece = match feed.piece(left).await {
                Ok(piece) => piece,
                Err(error) => {
                    // Broken off, so that the registry does not take it for the end.
                    let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
                    let _answered = pieces.send(Err(broken)).await.is_err();
                    return Err(error);
                }
            };
            left -= length(&piece);
            sum.update(&piece);
            let sent = length(&piece);
            if pieces.send(Ok(piece)).await.is_err() {
                // Answered before it was read to its end.
                return Ok(None);
            }
            progress.add(sent);
        }
        drop(pieces);
        Ok(Some(sum))
    };
    let sending = ends.to.fly.caller.send(call, Body::wrap_stream(body));
    let mut sending = std::pin::pin!(sending);
    let mut fed = std::pin::pin!(fed);
    let (answer, fed) = tokio::select! {
        biased;
        fed = &mut fed => match fed {
            Err(error) => return Err(source(error)),
            Ok(sum) => ((&mut sending).await, sum),
        },
        answer = &mut sending => (answer, None),
    };
    Ok((answer.map_err(|failure| mirror(failure.error))?, fed))
}

fn length(piece: &[u8]) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

/// A blob as it comes from its source; when it breaks off there it is taken up where it was, so that
/// what is being sent meanwhile need not be broken off as well.
struct Feed<'a> {
    talk: &'a Talk<'a>,
    digest: &'a Digest,
    /// Bytes that were handed out.
    at: u64,
    response: Response,
    /// What came and was not asked for yet.
    spare: Vec<u8>,
    /// How often it may break off.
    patience: u32,
}

impl<'a> Feed<'a> {
    /// The blob from a byte on.
    async fn open(talk: &'a Talk<'a>, blob: &'a Blob, at: u64) -> Answer<Self> {
        let digest = &blob.digest;
        let (response, begins) = answer_from(talk, digest, at).await?;
        let mut feed =
            Self { talk, digest, at: begins, response, spare: Vec::new(), patience: BREAKS_MAX };
        feed.skip_to(at).await?;
        Ok(feed)
    }

    /// What was had of it passes by, where a source gives whole blobs only.
    async fn skip_to(&mut self, at: u64) -> Answer<()> {
        while self.at < at {
            let piece = self.read(at - self.at).await?;
            self.at += length(&piece);
        }
        Ok(())
    }

    /// The next bytes, at most so many and at least one.
    async fn piece(&mut self, most: u64) -> Answer<Vec<u8>> {
        loop {
            match self.read(most).await {
                Ok(piece) => {
                    self.at += length(&piece);
                    return Ok(piece);
                }
                Err(error) if self.patience == 0 => return Err(error),
                Err(_) => {
                    self.patience -= 1;
                    let at = self.at;
                    (self.response, self.at) = answer_from(self.talk, self.digest, at).await?;
                    self.skip_to(at).await?;
                }
            }
        }
    }

    async fn read(&mut self, most: u64) -> Answer<Vec<u8>> {
        let mut piece = std::mem::take(&mut self.spare);
        while piece.is_empty() {
            let broke = match timeout(STALLED, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    piece = chunk.to_vec();
                    continue;
                }
                Ok(Ok(None)) => "it ended early",
                Ok(Err(_)) => "the connection broke",
                Err(_) => "no byte for a while",
            };
            let (blob, place) = (self.digest.short(), &self.talk.place.repository);
            return Err(PlatformError::Unavailable(format!("blob {blob} of {place}: {broke}")));
        }
        if length(&piece) > most {
            self.spare = piece.split_off(usize::try_from(most).unwrap_or(usize::MAX));
        }
        Ok(piece)
    }
}

/// Asks for a blob from a byte on; where the answer begins.
async fn answer_from(talk: &Talk<'_>, digest: &Digest, at: u64) -> Answer<(Response, u64)> {
    let mut call = Call {
        accept: "*/*",
        answers: &[301, 302, 303, 307, 308, 401],
        streams: true,
        patience: Patience::seconds(30, 60),
        ..Call::get(
            Action::Blob,
            talk.place.repository.as_str(),
            talk.place.url(&["blobs", digest.as_str()]),
        )
    };
    if at > 0 {
        call.extra.push(("range", format!("bytes={at}-")));
    }
    let mut answer = talk.ask(call).await?.answer;
    if !answer.is_success() {
        return Err(talk.failure(&answer));
    }
    let Some(response) = answer.rest.take() else {
        return Err(answer.unreadable("no body"));
    };
    if answer.status != 206 {
        return Ok((response, 0));
    }
    let from = answer.header("content-range").and_then(|range| {
        range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse::<u64>().ok()
    });
    if from != Some(at) {
        return Err(answer.unreadable("another part than was asked for"));
    }
    Ok((response, at))
}
