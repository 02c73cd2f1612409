//! The controller over a store.

use engine::memory::Memory;
use http::Method;
use serde_json::json;
use store::{Store, StoreOptions};

use super::{config::EXEMPT, *};

fn flow(seats: u32, patience: Duration) -> (Flow, Registry) {
    let store = Store::open(Memory::new(), StoreOptions::default()).unwrap();
    let registry = Registry::builder(store).build();
    (Flow::new(seats, patience, &Supervisor::new()), registry)
}

async fn enter(flow: &Flow, registry: &Registry, user: &UserInfo, path: &str) -> Result<Seats, Refused> {
    let info = RequestInfo::parse(&Method::GET, path, &[]).unwrap();
    flow.enter(Asking { info: &info, query: &[], user, registry }).await
}

fn level(name: &str, shares: u32, lendable: u32, queues: u32) -> Level {
    let level = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}")},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": {"queues": queues, "handSize": 1, "queueLengthLimit": 1}},
        }},
    });
    Level::parse(level.to_string().as_bytes()).unwrap()
}

fn schema(name: &str, level: &str, group: &str) -> FlowSchema {
    let schema = json!({
        "metadata": {"name": name, "uid": format!("uid-{name}")},
        "spec": {
            "matchingPrecedence": 500, "priorityLevelConfiguration": {"name": level}, "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{"kind": "Group", "group": {"name": group}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }],
        },
    });
    FlowSchema::parse(schema.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn the_mandatory_levels_are_always_there() {
    let (flow, registry) = flow(4, Duration::from_millis(20));
    let admin = UserInfo::new("admin", [UserInfo::MASTERS_GROUP]);
    let nobody = UserInfo::anonymous();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(enter(&flow, &registry, &nobody, "/version").await.ok().unwrap());
    }
    let refused = enter(&flow, &registry, &nobody, "/version").await.err().unwrap();
    assert_eq!((refused.class.0.schema.name.as_str(), refused.retry_after), (CATCH_ALL, 1));
    // Masters are exempt.
    assert_eq!(enter(&flow, &registry, &admin, "/version").await.ok().unwrap().class().0.schema.name, EXEMPT);
    held.pop();
    assert!(enter(&flow, &registry, &nobody, "/version").await.is_ok());
}

#[tokio::test]
async fn who_waits_too_long_is_refused_and_who_goes_frees_its_place() {
    let (flow, registry) = flow(1, Duration::from_millis(50));
    flow.digest(vec![schema("s", "busy", "g")], vec![level("busy", 100, 0, 1)]);
    let user = UserInfo::new("u", ["g"]);
    let mut held = Vec::new();
    let seats = flow.0.state.load().levels["busy"].shares.lock().current;
    for _ in 0..seats {
        held.push(enter(&flow, &registry, &user, "/version").await.ok().unwrap());
    }
    assert!(enter(&flow, &registry, &user, "/version").await.is_err());
    let level = Arc::clone(&flow.0.state.load().levels["busy"]);
    assert_eq!(level.queues.lock().totals.timed_out, 1);
    {
        let waiting = enter(&flow, &registry, &user, "/version");
        futures::pin_mut!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        assert_eq!(level.queues.lock().totals.waiting, 1);
        // The queue has one place.
        assert!(enter(&flow, &registry, &user, "/version").await.is_err());
    }
    assert_eq!(level.queues.lock().totals.waiting, 0);
    let waiting = enter(&flow, &registry, &user, "/version");
    futures::pin_mut!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    held.pop();
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn levels_borrow_what_others_do_not_use() {
    let (flow, registry) = flow(100, Duration::from_millis(20));
    flow.digest(
        vec![schema("loud", "loud", "loud"), schema("quiet", "quiet", "quiet")],
        vec![level("loud", 50, 0, 64), level("quiet", 50, 100, 64)],
    );
    let current = |name: &str| flow.0.state.load().levels[name].shares.lock().current;
    let before = current("loud");
    let user = UserInfo::new("u", ["loud"]);
    let mut held = Vec::new();
    while held.len() < before as usize {
        held.push(enter(&flow, &registry, &user, "/version").await.ok().unwrap());
    }
    // More is wanted than there is.
    assert!(enter(&flow, &registry, &user, "/version").await.is_err());
    assert!(!flow.lend());
    assert!(current("loud") > before, "{} of {before}", current("loud"));
    assert!(enter(&flow, &registry, &user, "/version").await.is_ok());
}

#[tokio::test]
async fn a_level_that_goes_serves_those_it_has() {
    let (flow, registry) = flow(10, Duration::from_millis(20));
    flow.digest(vec![schema("s", "old", "g")], vec![level("old", 10, 0, 1)]);
    let held = enter(&flow, &registry, &UserInfo::new("u", ["g"]), "/version").await.ok().unwrap();
    let mut headers = http::HeaderMap::new();
    held.class().write_headers(&mut headers);
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], "uid-s");
    assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], "uid-old");
    flow.digest(Vec::new(), Vec::new());
    assert!(flow.0.state.load().levels["old"].is_quiescing());
    assert!(dump_levels(&flow).contains("old,"));
    drop(held);
    flow.reap();
    assert!(!flow.0.state.load().levels.contains_key("old"));
    assert!(dump_queues(&flow).starts_with("PriorityLevelName,"));
    assert!(dump_requests(&flow, true).contains("UserName"));
}
