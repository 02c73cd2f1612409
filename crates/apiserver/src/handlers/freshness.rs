//! Waiting until the server has seen a version that the client has seen elsewhere, and refusing what comes from nowhere.
//! Upstream: `storage/cacher/watch_cache.go` `waitUntilFreshAndBlock`.

use std::time::Duration;

use apimachinery::{ApiError, ResourceVersion};
use registry::options::{ListOptions, VersionMatch, parse_resource_version};
use store::Revision;

use crate::server::{ApiServer, Call};

/// Upstream's `blockTimeout`.
const PATIENCE: Duration = Duration::from_secs(3);
/// For what others have written.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(10);

/// For a list that may be as old as the version it names, but not older.
pub(super) async fn for_list(server: &ApiServer, options: &ListOptions) -> Result<(), ApiError> {
    // An exact version is there or not: waiting for it is the client's.
    let is_exact = options.version_match == Some(VersionMatch::Exact)
        || (options.version_match.is_none() && options.limit > 0 && !options.watch);
    match options.resource_version {
        Some(version) if !is_exact && options.continue_token.is_empty() => not_older_than(server, version).await,
        _ => Ok(()),
    }
}

/// For a get; its only match is "not older than".
pub(super) async fn for_get(server: &ApiServer, text: &str) -> Result<(), ApiError> {
    if text.is_empty() {
        return Ok(());
    }
    not_older_than(server, parse_resource_version(text)?).await
}

async fn not_older_than(server: &ApiServer, ResourceVersion(version): ResourceVersion) -> Result<(), ApiError> {
    let store = server.registry().store();
    if version <= store.revision().0 {
        return Ok(());
    }
    match tokio::time::timeout(PATIENCE, store.wait_for(Revision(version))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ApiError::service_unavailable(error.to_string())),
        Err(_) => Err(ApiError::too_large_resource_version(version, store.revision().0)),
    }
}

/// Where other servers write to the same store: what a request must not miss is there before it is served. That is
/// everything for a write, which is decided by what is there, and for a read that does not say how old it may be.
/// Upstream: quorum reads, and consistent reads from cache (KEP 2340).
pub(super) async fn of_shared_store(server: &ApiServer, call: &Call) -> Result<(), ApiError> {
    let store = server.registry().store();
    let says_how_old = !call.param("resourceVersion").is_empty();
    let continues = !call.param("continue").is_empty();
    let reads = matches!(call.info.verb, "get" | "list" | "watch");
    if !store.is_shared() || (reads && (says_how_old || continues)) {
        return Ok(());
    }
    match tokio::time::timeout(PATIENCE_WITH_OTHERS, store.refresh()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store could not be asked how far it is");
            Err(ApiError::service_unavailable("the store does not answer at the moment"))
        }
        Err(_) => Err(ApiError::timeout("the store did not answer in time", 1)),
    }
}
