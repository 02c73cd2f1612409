//! Compaction: what is older than one interval goes. Of several API servers only the one that is first in an interval
//! compacts; they agree by the version of one key, as upstream's do, and with them (`etcd3/compact.go`).

use std::time::Duration;

use bytes::Bytes;
use grpc::{Channel, Code, GrpcError};

use crate::etcd::messages::{
    BY_VERSION, COMPACT, CompactionRequest, CompactionResponse, Compare, EQUAL, PutRequest, RangeRequest, RequestOp,
    TXN, TxnRequest, TxnResponse,
};

const KEY: &[u8] = b"compact_rev_key";

pub(super) async fn run(channel: Channel, interval: Duration) {
    let (mut version, mut revision) = (0, 0);
    loop {
        tokio::time::sleep(interval).await;
        match round(&channel, version, revision).await {
            Ok(next) => (version, revision) = next,
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "etcd was not compacted"),
        }
    }
}

/// Compacts up to `revision`, that of one interval ago, if nobody else has begun since `version`. Gives back what to
/// come with the next time.
pub(super) async fn round(channel: &Channel, version: i64, revision: i64) -> Result<(i64, i64), GrpcError> {
    let key = Bytes::from_static(KEY);
    let compare =
        Compare { result: EQUAL, target: BY_VERSION, key: key.clone(), version: Some(version), mod_revision: None };
    let put = PutRequest { key: key.clone(), value: Bytes::from(revision.to_string()), lease: 0 };
    let get = RangeRequest { key, ..RangeRequest::default() };
    let request = TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp { put: Some(put), ..RequestOp::default() }],
        failure: vec![RequestOp { range: Some(get), ..RequestOp::default() }],
    };
    let response: TxnResponse = channel.unary(TXN, &request).await?;
    let now = response.header.unwrap_or_default().revision;
    if !response.succeeded {
        let found = response.responses.into_iter().next().and_then(|op| op.range);
        let theirs = found.and_then(|range| range.kvs.into_iter().next()).map_or(0, |kv| kv.version);
        return Ok((theirs, now));
    }
    if revision > 0 {
        let compacted: Result<CompactionResponse, GrpcError> =
            channel.unary(COMPACT, &CompactionRequest { revision }).await;
        match compacted {
            Ok(_) => tracing::debug!(revision, "etcd is compacted"),
            // Somebody has done it already.
            Err(error) if error.code() == Some(Code::OUT_OF_RANGE) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((version + 1, now))
}
