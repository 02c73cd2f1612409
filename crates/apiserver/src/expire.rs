//! Events go when they are old: `--event-ttl`. Upstream has etcd take them away by leases.
//!
//! There is one timer, set to when the oldest event is due, and none while there are no events. It must not remove
//! anything but events.

use std::time::Duration;

use apimachinery::scan;
use jiff::Timestamp;
use registry::Registry;
use store::{Expect, Filter, Key, Resource, Revision, Snapshot, Txn, WatchError};
use supervisor::Supervisor;

/// Upstream's default.
pub const EVENT_TTL: Duration = Duration::from_secs(3600);
/// So seldom at most, however many events come.
const ROUND: Duration = Duration::from_secs(60);
/// So many deletions share a revision.
const GROUP: usize = 200;

/// What is to be done at some moment.
struct Plan {
    expired: Vec<(Key, Revision)>,
    /// How long until the next one is due; none when there are no others.
    wait: Option<Duration>,
}

/// Deletes events that were not written for so long.
pub fn events(registry: &Registry, ttl: Duration, supervisor: &Supervisor) {
    let store = registry.store().clone();
    supervisor.spawn("event expiry", async move {
        let resource = store.resource("events");
        loop {
            let snapshot = resource.snapshot();
            let mut plan = plan(&snapshot, Timestamp::now(), ttl);
            for group in plan.expired.chunks(GROUP) {
                let delete = |txn: Txn, (key, revision): &(Key, Revision)| {
                    txn.delete(&resource, key.clone(), Expect::Revision(*revision))
                };
                let txn = group.iter().fold(Txn::new().relaxed(), delete);
                if let Err(error) = store.commit(txn).await {
                    // Written or deleted by somebody else meanwhile, most likely: the next round sees.
                    tracing::debug!(%error, "old events were not deleted");
                    plan.wait = Some(ROUND);
                }
            }
            match plan.wait {
                Some(wait) => tokio::time::sleep(wait.max(ROUND)).await,
                None if !plan.expired.is_empty() => {}
                None => match first_after(&resource, snapshot.revision()).await {
                    Ok(()) | Err(WatchError::Lagged | WatchError::Compacted { .. }) => {}
                    Err(WatchError::Closed) => return,
                },
            }
        }
    });
}

async fn first_after(resource: &Resource, revision: Revision) -> Result<(), WatchError> {
    resource.watch(revision, Filter::all())?.next().await.map(|_| ())
}

fn plan(snapshot: &Snapshot, now: Timestamp, ttl: Duration) -> Plan {
    let mut plan = Plan { expired: Vec::new(), wait: None };
    for entry in snapshot.iter() {
        // Without any time on it, it is as old as the store's first look at it: never. Validation lets none in.
        let Some(written) = last_written(entry.bytes()) else { continue };
        let age = Duration::try_from(now.duration_since(written)).unwrap_or_default();
        match ttl.checked_sub(age).filter(|left| !left.is_zero()) {
            Some(left) => plan.wait = Some(plan.wait.map_or(left, |wait| wait.min(left))),
            None => plan.expired.push((entry.key().clone(), entry.mod_revision())),
        }
    }
    plan
}

/// The latest of the times that a writer of an event sets.
fn last_written(bytes: &[u8]) -> Option<Timestamp> {
    let paths: [&[&str]; 7] = [
        &["metadata", "creationTimestamp"],
        &["eventTime"],
        &["lastTimestamp"],
        &["deprecatedLastTimestamp"],
        &["series", "lastObservedTime"],
        &["firstTimestamp"],
        &["deprecatedFirstTimestamp"],
    ];
    paths.iter().filter_map(|path| scan::text(bytes, path)?.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use engine::memory::Memory;
    use serde_json::{Value, json};
    use store::{Store, StoreOptions, Template};

    use super::*;

    async fn check(events: &[(&str, Value)], expired: &[&str], wait: Option<u64>) {
        let store = Store::open(Memory::new(), StoreOptions::default()).unwrap();
        let resource = store.resource("events");
        for (name, event) in events {
            let bytes = Bytes::from(event.to_string());
            let value = Template::split(bytes.clone(), bytes.len());
            store.commit(Txn::new().put(&resource, Key::new("a", name).unwrap(), Expect::Absent, value)).await.unwrap();
        }
        let now = "2026-01-01T10:00:00Z".parse().unwrap();
        let plan = plan(&resource.snapshot(), now, EVENT_TTL);
        let names: Vec<&str> = plan.expired.iter().map(|(key, _)| key.name()).collect();
        assert_eq!(names, expired);
        assert_eq!(plan.wait, wait.map(Duration::from_secs));
    }

    fn created(time: &str) -> Value {
        json!({ "metadata": { "creationTimestamp": time } })
    }

    #[tokio::test]
    async fn old_events_go() {
        let old = created("2026-01-01T08:59:59Z");
        let due = created("2026-01-01T09:00:00Z");
        let young = created("2026-01-01T09:30:00Z");
        let future = created("2026-01-01T11:00:00Z");
        check(&[], &[], None).await;
        check(&[("old", old), ("due", due), ("young", young), ("future", future)], &["due", "old"], Some(1800)).await;
    }

    #[tokio::test]
    async fn an_event_that_is_seen_again_stays() {
        let mut again = created("2026-01-01T08:00:00Z");
        again["lastTimestamp"] = json!("2026-01-01T09:50:00Z");
        let mut series = created("2026-01-01T08:00:00Z");
        series["series"] = json!({ "count": 3, "lastObservedTime": "2026-01-01T09:40:00.000000Z" });
        check(&[("again", again), ("series", series)], &[], Some(2400)).await;
    }

    #[tokio::test]
    async fn no_time_is_no_reason_to_go() {
        check(&[("none", json!({})), ("bad", created("yesterday"))], &[], None).await;
    }
}
