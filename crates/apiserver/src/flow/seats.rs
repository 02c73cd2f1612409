//! How many seats a request takes: one, but for lists, streaming lists, and writes that many watch. Pure.
//!
//! Upstream: `util/flowcontrol/request` (`list_work_estimator.go`, `mutating_work_estimator.go`).

use std::time::Duration;

use registry::options::Query;

use super::queues::Estimate;
use crate::request_info::RequestInfo;

const BYTES_PER_SEAT: usize = 100_000;
/// A list is streamed: it never holds more than this.
const STREAMED_BYTES: usize = 1_000_000;
/// Upstream's `MaximumListSeatsLimit` with size-based estimates, and `MaximumMutatingSeatsLimit`.
const MOST_LIST_SEATS: u32 = 100;
const MOST_WRITE_SEATS: u32 = 10;
const WATCHES_PER_SEAT: usize = 10;
/// What an event costs a seat behind its write.
const EVENT: Duration = Duration::from_millis(5);

/// What the estimate is made from.
pub(super) struct Facts<'a> {
    pub(super) info: &'a RequestInfo,
    pub(super) query: &'a Query,
    /// Most seats that the priority level gives to one request; 0 where it does not say.
    pub(super) most: u32,
    /// Objects that the list is about, and their average size in bytes.
    pub(super) objects: &'a dyn Fn() -> Option<(usize, usize)>,
    pub(super) watchers: &'a dyn Fn() -> usize,
}

pub(super) fn estimate(facts: &Facts<'_>) -> Estimate {
    match facts.info.verb {
        "list" | "watch" if facts.info.is_resource => list(facts),
        "create" | "update" | "patch" | "delete" if facts.info.is_resource => write(facts),
        _ => Estimate::ONE,
    }
}

fn most(facts: &Facts<'_>, limit: u32) -> u32 {
    if facts.most == 0 { limit } else { facts.most.min(limit) }
}

fn list(facts: &Facts<'_>) -> Estimate {
    let get = |name: &str| facts.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let is_watch = facts.info.verb == "watch";
    if is_watch {
        let initial = registry::options::flag(facts.query, "sendInitialEvents").unwrap_or_default();
        let from_nowhere = matches!(get("resourceVersion"), None | Some("" | "0"));
        if !initial && !from_nowhere {
            return Estimate::ONE;
        }
    }
    // Not served here: another server bears the cost.
    let Some((count, size)) = (facts.objects)() else { return Estimate::ONE };
    let objects = if facts.info.name.is_empty() {
        let limit = get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        limit.map_or(count, |limit: usize| limit.min(count))
    } else {
        1
    };
    let bytes = objects.saturating_mul(size).min(STREAMED_BYTES);
    let seats = u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX);
    Estimate { initial: seats.clamp(1, most(facts, MOST_LIST_SEATS).max(1)), ..Estimate::ONE }
}

fn write(facts: &Facts<'_>) -> Estimate {
    if facts.info.resource == "serviceaccounts" && facts.info.subresource == "token" {
        return Estimate::ONE;
    }
    let watchers = (facts.watchers)();
    if watchers < WATCHES_PER_SEAT {
        return Estimate::ONE;
    }
    let wanted = u32::try_from(watchers.div_ceil(WATCHES_PER_SEAT)).unwrap_or(u32::MAX);
    let last = wanted.min(most(facts, MOST_WRITE_SEATS)).max(1);
    Estimate { initial: 1, last, additional: EVENT.saturating_mul(wanted) / last }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::request_info::parse_query;

    fn check(method: Method, url: &str, objects: (usize, usize), watchers: usize, expected: (u32, u32, u64)) {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let query = parse_query(Some(query));
        let info = RequestInfo::parse(&method, path, &query).unwrap();
        let facts = Facts { info: &info, query: &query, most: 8, objects: &|| Some(objects), watchers: &|| watchers };
        let Estimate { initial, last, additional } = estimate(&facts);
        assert_eq!((initial, last, additional.as_millis() as u64), expected, "{method} {url}");
    }

    #[test]
    fn lists_cost_by_their_size_and_writes_by_their_watchers() {
        let pods = "/api/v1/pods";
        check(Method::GET, pods, (0, 0), 0, (1, 0, 0));
        check(Method::GET, pods, (300, 1_000), 0, (3, 0, 0));
        check(Method::GET, pods, (1_000_000, 1_000), 0, (8, 0, 0));
        check(Method::GET, "/api/v1/pods?limit=100", (1_000_000, 1_000), 0, (1, 0, 0));
        check(Method::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dx", (1_000_000, 1_000), 0, (1, 0, 0));
        check(Method::GET, "/api/v1/pods?watch=1&resourceVersion=7", (1_000_000, 1_000), 0, (1, 0, 0));
        check(Method::GET, "/api/v1/pods?watch=1", (500, 1_000), 0, (5, 0, 0));
        let sending = "/api/v1/pods?watch=1&resourceVersion=7&sendInitialEvents=true";
        check(Method::GET, sending, (500, 1_000), 0, (5, 0, 0));
        check(Method::GET, "/api/v1/namespaces/a/pods/b", (500, 1_000), 0, (1, 0, 0));
        let pod = "/api/v1/namespaces/a/pods/b";
        check(Method::PUT, pod, (0, 0), 9, (1, 0, 0));
        check(Method::PUT, pod, (0, 0), 25, (1, 3, 5));
        check(Method::PUT, pod, (0, 0), 160, (1, 8, 10));
        check(Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token", (0, 0), 500, (1, 0, 0));
        check(Method::GET, "/healthz", (0, 0), 500, (1, 0, 0));
    }
}
