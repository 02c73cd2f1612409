//! The one watch of everything: what changed, in order, whole revisions only. It goes on after the last revision when
//! the connection ends; when etcd has compacted that, the whole state has to be read again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use grpc::{GrpcError, Receiver, Sender};

use crate::etcd::messages::{
    DELETED, PutRequest, RequestOp, TXN, TxnRequest, TxnResponse, WATCH, WatchCreateRequest, WatchEvent,
    WatchProgressRequest, WatchRequest, WatchResponse, prefix_end,
};
use crate::etcd::{Line, record};
use crate::{Changed, EngineError, Feed, Revision};

/// How long between two requests for progress while somebody waits. As upstream.
const PROGRESS: Duration = Duration::from_millis(100);
/// After a connection that failed, before the next.
const PAUSE: Duration = Duration::from_millis(200);

/// A member that has lost its leader ends the watch, instead of being silent. Upstream: `clientv3.WithRequireLeader`.
const REQUIRE_LEADER: [(&str, &str); 1] = [("hasleader", "true")];

enum End {
    /// Go on behind what was seen.
    Again,
    Lost(EngineError),
    Unwanted,
}

pub(super) async fn run(line: Arc<Line>, from: Revision, mut feed: Box<dyn Feed>) {
    let mut seen = from;
    loop {
        match follow(&line, &mut seen, &mut *feed).await {
            Ok(End::Unwanted) => return,
            Ok(End::Lost(error)) => {
                feed.lost(error);
                return;
            }
            Ok(End::Again) => tracing::debug!(revision = seen.0, "etcd ended the watch"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, revision = seen.0, "the watch of etcd broke");
                line.channel.forget().await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(line: &Line, seen: &mut Revision, feed: &mut dyn Feed) -> Result<End, GrpcError> {
    let (mut sender, mut receiver) = line.channel.stream_with(WATCH, &REQUIRE_LEADER).await?;
    let root = Bytes::from(line.options.layout.root());
    let create = WatchCreateRequest {
        range_end: prefix_end(&root),
        key: root,
        start_revision: i64::try_from(seen.0).unwrap_or(i64::MAX).saturating_add(1),
        progress_notify: true,
        fragment: true,
    };
    sender.send(&WatchRequest { create: Some(create), progress: None }).await?;
    // Of a response that comes in pieces.
    let mut pieces = Vec::new();
    loop {
        let Some(response) = next(line, &mut sender, &mut receiver).await? else { return Ok(End::Again) };
        if response.compact_revision != 0 {
            let detail = format!("etcd has compacted up to {}, the watch was at {seen}", response.compact_revision);
            return Ok(End::Lost(EngineError::Other { detail }));
        }
        if response.canceled {
            tracing::warn!(reason = response.cancel_reason, "etcd cancelled the watch");
            return Ok(End::Again);
        }
        if response.events.is_empty() && pieces.is_empty() {
            let told = u64::try_from(response.header.unwrap_or_default().revision).unwrap_or(0);
            if response.created || !line.tells_progress || told <= seen.0 {
                continue;
            }
            *seen = Revision(told);
            line.seen.store(told, Ordering::Release);
            if !feed.changes(Vec::new(), *seen).await {
                return Ok(End::Unwanted);
            }
            continue;
        }
        pieces.extend(response.events);
        if response.fragment {
            continue;
        }
        let Some(last) = pieces.last().and_then(|event| event.kv.as_ref()) else { continue };
        let upto = Revision(u64::try_from(last.mod_revision).unwrap_or(0));
        let changes = std::mem::take(&mut pieces).into_iter().filter_map(|event| changed(line, event)).collect();
        *seen = upto;
        line.seen.store(upto.0, Ordering::Release);
        if !feed.changes(changes, upto).await {
            return Ok(End::Unwanted);
        }
    }
}

/// The next response. While somebody waits for the feed, asks for progress from time to time.
async fn next(line: &Line, sender: &mut Sender, receiver: &mut Receiver) -> Result<Option<WatchResponse>, GrpcError> {
    let response = receiver.next();
    tokio::pin!(response);
    loop {
        if !line.is_behind() {
            tokio::select! {
                response = &mut response => return response,
                () = line.hurry.notified() => {}
            }
        }
        if !line.is_behind() {
            continue;
        }
        // Mostly what is waited for is on its way already. If not, it may be that nothing of ours changed.
        if line.tells_progress {
            sender.send(&WatchRequest { create: None, progress: Some(WatchProgressRequest {}) }).await?;
        }
        match tokio::time::timeout(PROGRESS, &mut response).await {
            Ok(response) => return response,
            Err(_) if line.tells_progress => {}
            // An etcd whose word is not good: a write of our own comes behind everything before it.
            Err(_) => mark(line).await?,
        }
    }
}

/// Writes a key that is no object.
async fn mark(line: &Line) -> Result<(), GrpcError> {
    let key = Bytes::from(format!("{}tiphys.io/mark", line.options.layout.root()));
    let put = PutRequest { key, value: Bytes::new(), lease: 0 };
    let success = vec![RequestOp { put: Some(put), ..RequestOp::default() }];
    line.channel.unary::<TxnResponse>(TXN, &TxnRequest { success, ..TxnRequest::default() }).await.map(|_| ())
}

fn changed(line: &Line, event: WatchEvent) -> Option<Changed> {
    let kv = event.kv?;
    if event.kind != DELETED {
        return record(&line.options.layout, kv).map(Changed::Put);
    }
    let (resource, path) = line.options.layout.parse(std::str::from_utf8(&kv.key).ok()?)?;
    let revision = Revision(u64::try_from(kv.mod_revision).ok()?);
    Some(Changed::Delete { resource, path: Arc::from(path), revision })
}
