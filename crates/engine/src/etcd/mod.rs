//! etcd, for clusters with several API servers: the keys and values are upstream's, so that an upstream API server can
//! work on the same etcd before, after and beside this one.
//!
//! A revision is etcd's own; a precondition is a compare of mod revisions; what changed, by whomever, comes by one watch
//! of the whole prefix. What may not be old asks etcd for its revision and waits until the watch is there, helped by a
//! request for progress (upstream: KEP 2340, consistent reads from cache).
//!
//! Upstream counterpart: `apiserver/pkg/storage/etcd3` (`store.go`, `compact.go`, `lease_manager.go`, `watcher.go`).

mod compact;
mod feed;
mod lease;
mod messages;
#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use grpc::{Channel, Code, Endpoint, GrpcError, Options};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::etcd::lease::Leases;
use crate::etcd::messages::{
    BY_MOD, COMPACT, CompactionRequest, CompactionResponse, Compare, DeleteRangeRequest, EQUAL, GREATER, KeyValue,
    PutRequest, RANGE, RangeRequest, RangeResponse, RequestOp, STATUS, StatusRequest, StatusResponse, TXN, TxnRequest,
    TxnResponse, prefix_end,
};
use crate::{
    Answer, CommitError, Engine, EngineError, Expected, Factory, Feed, Head, Layout, Mutation, OpenReason, Opened,
    Outcome, Record, Restore, Revision, Template, Transaction,
};

/// Of one call. Whoever waits has a deadline of their own, mostly shorter.
const DEADLINE: Duration = Duration::from_secs(30);
/// etcd's own limit for one request is 1.5 MB; a page of a list may be much larger.
const MESSAGE_BYTES: usize = 1 << 30;
/// Of the first page of the state; later ones are as large as is good for about [`PAGE_BYTES`].
const FIRST_PAGE: i64 = 500;
const PAGE_BYTES: usize = 8 << 20;
const LARGEST_PAGE: i64 = 10_000;
/// Of what is put in whole: so many transactions at a time, each with so much. etcd's limits are 128 and 1.5 MB.
const FILL_AT_ONCE: u64 = 256;
const FILL_OPERATIONS: usize = 100;
const FILL_BYTES: usize = 1 << 20;

/// How etcd is reached, and what of it is ours.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `--etcd-servers`.
    pub endpoints: Vec<Endpoint>,
    /// `--etcd-cafile`, `--etcd-certfile`, `--etcd-keyfile`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    pub layout: Arc<Layout>,
    /// `--etcd-compaction-interval`; none: somebody else compacts.
    pub compaction: Option<Duration>,
}

/// Opens etcd.
#[derive(Clone)]
pub struct EtcdFactory {
    options: EtcdOptions,
}

struct Etcd {
    line: Arc<Line>,
    runtime: Option<Runtime>,
    heads: UnboundedSender<Answer>,
    asked: Option<UnboundedReceiver<Answer>>,
    opened_at: Revision,
}

/// What all tasks of one opening share.
struct Line {
    channel: Channel,
    options: EtcdOptions,
    leases: Leases,
    /// Where the feed is.
    seen: AtomicU64,
    /// Where somebody waits for it to be.
    wanted: AtomicU64,
    hurry: Notify,
    /// Whether what etcd says of its progress can be believed.
    tells_progress: bool,
}

struct Heads(UnboundedSender<Answer>);

// === impl EtcdOptions ===

impl EtcdOptions {
    fn channel(&self) -> Channel {
        let options = Options { tls: self.tls.clone(), deadline: DEADLINE, message_bytes: MESSAGE_BYTES };
        Channel::new(self.endpoints.clone(), options)
    }
}

// === impl EtcdFactory ===

impl EtcdFactory {
    #[must_use]
    pub fn new(options: EtcdOptions) -> EtcdFactory {
        EtcdFactory { options }
    }
}

impl Factory for EtcdFactory {
    fn open(&self, _reason: OpenReason, restore: &mut dyn Restore) -> Result<Opened, EngineError> {
        let (runtime, channel) = (Owned::new()?, self.options.channel());
        let asked = channel.clone();
        let status = runtime.wait(async move { asked.unary::<StatusResponse>(STATUS, &StatusRequest {}).await })?;
        let version = match status {
            Ok(status) => status.version,
            // The right to ask is not needed for anything else.
            Err(GrpcError::Status { .. }) => String::new(),
            Err(error) => return Err(failed(&error)),
        };
        let revision = load(&runtime, &channel, &self.options.layout, restore)?;
        let line = Arc::new(Line {
            channel,
            options: self.options.clone(),
            leases: Leases::default(),
            seen: AtomicU64::new(revision.0),
            wanted: AtomicU64::new(0),
            hurry: Notify::new(),
            tells_progress: tells_progress(&version),
        });
        tracing::info!(version, revision = revision.0, "etcd is open");
        let (heads, asked) = unbounded_channel();
        let engine = Etcd { line, runtime: runtime.into_inner(), heads, asked: Some(asked), opened_at: revision };
        Ok(Opened { engine: Box::new(engine), revision })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Gives everything to `restore`, without going on from there.
pub(crate) fn read(options: &EtcdOptions, restore: &mut dyn Restore) -> Result<(), EngineError> {
    let (runtime, channel) = (Owned::new()?, options.channel());
    load(&runtime, &channel, &options.layout, restore).map(|_| ())
}

/// Puts records where nothing is, behind a revision.
pub(crate) fn fill(
    options: &EtcdOptions,
    records: &[Record],
    after: Revision,
    progress: &mut dyn FnMut(u64),
) -> Result<Revision, EngineError> {
    let (runtime, channel) = (Owned::new()?, options.channel());
    let root = Bytes::from(options.layout.root());
    let count =
        RangeRequest { range_end: prefix_end(&root), key: root.clone(), count_only: true, ..Default::default() };
    let asked = channel.clone();
    let found = runtime.wait(async move { asked.unary::<RangeResponse>(RANGE, &count).await })?;
    let found = found.map_err(|error| failed(&error))?;
    if found.count > 0 {
        let detail = format!("etcd has {} keys below {} already", found.count, options.layout.root());
        return Err(EngineError::Other { detail });
    }
    let put =
        |key: Bytes, value: Bytes| RequestOp { put: Some(PutRequest { key, value, lease: 0 }), ..RequestOp::default() };
    let mut at = u64::try_from(found.header.unwrap_or_default().revision).unwrap_or(0);
    let mark = Bytes::from(format!("{}tiphys.io/mark", options.layout.root()));
    // Revisions first: a cluster that is only half there must not look as if it could be used at once.
    while at < after.0 {
        progress(after.0 - at + records.len() as u64);
        let batch = (after.0 - at).min(FILL_AT_ONCE);
        let request = TxnRequest { success: vec![put(mark.clone(), Bytes::new())], ..TxnRequest::default() };
        let requests = (0..batch).map(|_| request.clone()).collect();
        at = runtime.wait(send_all(channel.clone(), requests))?.map_err(|error| failed(&error))?;
    }
    let mut left = records;
    while !left.is_empty() {
        progress(left.len() as u64);
        let mut requests = Vec::new();
        while requests.len() < FILL_AT_ONCE as usize && !left.is_empty() {
            // Of what fits one transaction of etcd, by number and size.
            let mut bytes = 0;
            let fit = left.iter().take(FILL_OPERATIONS).take_while(|record| {
                bytes += record.path.len() + record.value.len() + 64;
                bytes <= FILL_BYTES
            });
            let (now, later) = left.split_at(fit.count().max(1));
            left = later;
            let success = now
                .iter()
                .map(|record| put(options.layout.key(&record.resource, &record.path).into(), record.value.to_json()));
            requests.push(TxnRequest { success: success.collect(), ..TxnRequest::default() });
        }
        at = runtime.wait(send_all(channel.clone(), requests))?.map_err(|error| failed(&error))?;
    }
    // Nobody can resume from before here.
    let request = CompactionRequest { revision: i64::try_from(at).unwrap_or(i64::MAX) };
    let compacted: Result<CompactionResponse, GrpcError> =
        runtime.wait(async move { channel.unary(COMPACT, &request).await })?;
    compacted.map_err(|error| failed(&error))?;
    Ok(Revision(at))
}

/// At the same time. Gives back the last revision.
async fn send_all(channel: Channel, requests: Vec<TxnRequest>) -> Result<u64, GrpcError> {
    let answers = join_all(requests.iter().map(|request| channel.unary::<TxnResponse>(TXN, request))).await;
    let mut last = 0;
    for answer in answers {
        last = last.max(u64::try_from(answer?.header.unwrap_or_default().revision).unwrap_or(0));
    }
    Ok(last)
}

/// Gives the state at one revision to `restore`.
fn load(
    runtime: &Owned,
    channel: &Channel,
    layout: &Layout,
    restore: &mut dyn Restore,
) -> Result<Revision, EngineError> {
    let root = Bytes::from(layout.root());
    let end = prefix_end(&root);
    let page = |key: Bytes, revision: i64, limit: i64| {
        let request = RangeRequest { key, range_end: end.clone(), limit, revision, count_only: false };
        let channel = channel.clone();
        async move { channel.unary::<RangeResponse>(RANGE, &request).await }
    };
    let mut coming = runtime.begin(page(root, 0, FIRST_PAGE))?;
    let (mut revision, mut limit) = (0, FIRST_PAGE);
    loop {
        let response = coming.recv().map_err(|_| gone())?.map_err(|error| failed(&error))?;
        if revision == 0 {
            revision = response.header.unwrap_or_default().revision;
        }
        // The next page is on its way while this one is taken in.
        let last = response.kvs.last().filter(|_| response.more);
        let next = last.map(|last| [&last.key[..], b"\0"].concat());
        if let Some(key) = &next {
            let bytes: usize = response.kvs.iter().map(|kv| kv.value.len()).sum();
            let fits = response.kvs.len() * PAGE_BYTES / bytes.max(1);
            limit = i64::try_from(fits).unwrap_or(LARGEST_PAGE).clamp(FIRST_PAGE / 10, LARGEST_PAGE.min(limit * 4));
            coming = runtime.begin(page(key.clone().into(), revision, limit))?;
        }
        for kv in response.kvs {
            if let Some(record) = record(layout, kv) {
                restore.live(record);
            }
        }
        if next.is_none() {
            break;
        }
    }
    let revision = Revision(u64::try_from(revision).unwrap_or(0));
    restore.base(revision);
    Ok(revision)
}

/// `None` for what is not an object of the API.
fn record(layout: &Layout, kv: KeyValue) -> Option<Record> {
    let (resource, path) = layout.parse(std::str::from_utf8(&kv.key).ok()?)?;
    Some(Record {
        resource,
        path: Arc::from(path),
        value: Template::whole(kv.value),
        created: Revision(u64::try_from(kv.create_revision).ok()?),
        modified: Revision(u64::try_from(kv.mod_revision).ok()?),
    })
}

// === impl Etcd ===

impl Engine for Etcd {
    fn commit(&mut self, batch: &[Transaction]) -> Result<Vec<Outcome>, CommitError> {
        let requests: Vec<(TxnRequest, Option<Duration>)> =
            batch.iter().map(|transaction| (self.line.request(transaction), transaction.lifetime)).collect();
        let line = Arc::clone(&self.line);
        let commits = async move {
            let outcomes = requests.into_iter().map(|(request, lifetime)| line.commit(request, lifetime));
            let outcomes = join_all(outcomes).await;
            let latest = outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::Committed(revision) | Outcome::Conflict(revision) => Some(revision.0),
                Outcome::Failed { .. } => None,
            });
            if let Some(latest) = latest.max() {
                line.want(latest);
            }
            outcomes
        };
        let Some(runtime) = &self.runtime else { return Err(CommitError::Broken(gone())) };
        let (sender, receiver) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            // Who waits may be gone.
            sender.send(commits.await).ok();
        });
        receiver.recv().map_err(|_| CommitError::Broken(gone()))
    }

    /// There is nothing that is not synced.
    fn sync(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn follow(&mut self, feed: Box<dyn Feed>) {
        let (Some(runtime), Some(asked)) = (&self.runtime, self.asked.take()) else { return };
        runtime.spawn(feed::run(Arc::clone(&self.line), self.opened_at, feed));
        runtime.spawn(answer_heads(Arc::clone(&self.line), asked));
        if let Some(interval) = self.line.options.compaction {
            runtime.spawn(compact::run(self.line.channel.clone(), interval));
        }
    }

    fn head(&self) -> Option<Arc<dyn Head>> {
        Some(Arc::new(Heads(self.heads.clone())))
    }

    fn close(self: Box<Self>) -> Result<(), EngineError> {
        Ok(())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Head for Heads {
    fn revision(&self, answer: Answer) {
        if let Err(unsent) = self.0.send(answer) {
            (unsent.0)(Err(gone()));
        }
    }
}

/// Asks once for all who have asked by then.
async fn answer_heads(line: Arc<Line>, mut asked: UnboundedReceiver<Answer>) {
    let mut waiting = Vec::new();
    // The bound on these is that on requests.
    while asked.recv_many(&mut waiting, usize::MAX).await > 0 {
        let question = RangeRequest {
            key: Bytes::from(line.options.layout.root()),
            range_end: Bytes::new(),
            limit: 1,
            revision: 0,
            count_only: true,
        };
        let mut answer = line.channel.unary::<RangeResponse>(RANGE, &question).await;
        // A member that is alone cannot say, another one may: reading twice harms nobody.
        let mut left = line.options.endpoints.len();
        while left > 1 && matches!(&answer, Err(error) if error.is_of_endpoint()) {
            left -= 1;
            answer = line.channel.unary::<RangeResponse>(RANGE, &question).await;
        }
        let revision = answer.map(|answer| u64::try_from(answer.header.unwrap_or_default().revision).unwrap_or(0));
        if let Ok(revision) = &revision {
            line.want(*revision);
        }
        for answer in waiting.drain(..) {
            answer(revision.as_ref().map(|revision| Revision(*revision)).map_err(failed));
        }
    }
}

// === impl Line ===

impl Line {
    /// Somebody waits for the feed to be here.
    fn want(&self, revision: u64) {
        self.wanted.fetch_max(revision, Ordering::AcqRel);
        if self.seen.load(Ordering::Acquire) < revision {
            self.hurry.notify_one();
        }
    }

    fn is_behind(&self) -> bool {
        self.seen.load(Ordering::Acquire) < self.wanted.load(Ordering::Acquire)
    }

    fn request(&self, transaction: &Transaction) -> TxnRequest {
        let mut request = TxnRequest::default();
        for mutation in &transaction.mutations {
            let key = Bytes::from(self.options.layout.key(mutation.resource(), mutation.path()));
            let (Mutation::Put { expected, .. } | Mutation::Delete { expected, .. }) = mutation;
            let by_mod = |result, revision| Compare {
                result,
                target: BY_MOD,
                key: key.clone(),
                version: None,
                mod_revision: Some(revision),
            };
            request.compare.extend(match expected {
                Expected::Any => None,
                Expected::Absent => Some(by_mod(EQUAL, 0)),
                Expected::Present => Some(by_mod(GREATER, 0)),
                Expected::At(revision) => Some(by_mod(EQUAL, i64::try_from(revision.0).unwrap_or(i64::MAX))),
            });
            request.success.push(match mutation {
                Mutation::Put { value, .. } => {
                    let put = PutRequest { key, value: value.to_json(), lease: 0 };
                    RequestOp { put: Some(put), ..RequestOp::default() }
                }
                Mutation::Delete { .. } => {
                    let delete = DeleteRangeRequest { key, range_end: Bytes::new() };
                    RequestOp { delete: Some(delete), ..RequestOp::default() }
                }
            });
        }
        request
    }

    async fn commit(&self, mut request: TxnRequest, lifetime: Option<Duration>) -> Outcome {
        if let Some(lifetime) = lifetime {
            let lease = match self.leases.lease(&self.channel, lifetime).await {
                Ok(lease) => lease,
                Err(error) => return Outcome::Failed { error: Arc::new(failed(&error)), unknown: false },
            };
            for put in request.success.iter_mut().filter_map(|op| op.put.as_mut()) {
                put.lease = lease;
            }
        }
        match self.channel.unary::<TxnResponse>(TXN, &request).await {
            Ok(response) => {
                let revision = Revision(u64::try_from(response.header.unwrap_or_default().revision).unwrap_or(0));
                if response.succeeded { Outcome::Committed(revision) } else { Outcome::Conflict(revision) }
            }
            Err(error) => {
                if error.code() == Some(NOT_FOUND) {
                    // The lease, which etcd has let go of.
                    self.leases.forget();
                }
                let unknown = !error.was_not_sent() && !error.code().is_some_and(|code| REFUSED.contains(&code));
                Outcome::Failed { error: Arc::new(failed(&error)), unknown }
            }
        }
    }
}

const NOT_FOUND: Code = Code(5);
/// With these etcd says that it has done nothing: a wrong request, no right, no space, a precondition.
const REFUSED: [Code; 6] = [Code(3), NOT_FOUND, Code(7), Code(8), Code(9), Code(16)];

/// A runtime that is let go of also where blocking is not allowed.
struct Owned(Option<Runtime>);

// === impl Owned ===

impl Owned {
    fn new() -> Result<Owned, EngineError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("etcd")
            .enable_all()
            .build()
            .map_err(|error| EngineError::Other { detail: format!("start a thread for etcd: {error}") })?;
        Ok(Owned(Some(runtime)))
    }

    fn begin<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<mpsc::Receiver<T>, EngineError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let Some(runtime) = &self.0 else { return Err(gone()) };
        runtime.spawn(async move {
            // Who waits may be gone.
            sender.send(future.await).ok();
        });
        Ok(receiver)
    }

    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T, EngineError> {
        self.begin(future)?.recv().map_err(|_| gone())
    }

    fn into_inner(mut self) -> Option<Runtime> {
        self.0.take()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Progress notifications came before events that they should have come after, until these versions
/// (etcd issues 15220 and 17507). Upstream's limits: `feature_support_checker.go`.
fn tells_progress(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(3), Some(4), Some(patch)) => patch >= 31,
        (Some(3), Some(5), Some(patch)) => patch >= 13,
        (Some(3), Some(minor), _) => minor > 5,
        (Some(major), ..) => major > 3,
        _ => false,
    }
}

fn gone() -> EngineError {
    EngineError::Other { detail: "what talks to etcd has ended".to_owned() }
}

/// etcd's `NOSPACE` alarm: until somebody compacts, defragments and disarms it, it takes no writes.
const RESOURCE_EXHAUSTED: Code = Code(8);

fn failed(error: &GrpcError) -> EngineError {
    if let GrpcError::Status { code: RESOURCE_EXHAUSTED, message } = error {
        return EngineError::Refused { detail: message.clone() };
    }
    let detail = match error.source() {
        Some(source) => format!("etcd: {error}: {source}"),
        None => format!("etcd: {error}"),
    };
    EngineError::Other { detail }
}
