//! Counts equal events, aggregates similar ones and drops spam; pure. Upstream: client-go `record.EventCorrelator`.
//!
//! Bound: as upstream, each memory keeps at most 4096 keys and forgets the one unused for longest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Event, apimachinery::pkg::apis::meta::v1::Time};

/// Upstream: `maxLruCacheEntries`.
const MEMORY: usize = 4096;
/// So many different messages of one reason become one event. Upstream: `defaultAggregateMaxEvents`.
const AGGREGATE_FROM: usize = 10;
/// Messages further apart are not similar. Upstream: `defaultAggregateIntervalInSeconds`.
const AGGREGATE_WITHIN_SECONDS: i64 = 600;
/// So many events about one object at once. Upstream: `defaultSpamBurst`.
const SPAM_BURST: f64 = 25.0;
/// And so many a second after that. Upstream: `defaultSpamQPS`.
const SPAM_PER_SECOND: f64 = 1.0 / 300.0;

/// What to do with an event.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Create(Event),
    Update(Event),
    Skip,
}

#[derive(Debug)]
pub(super) struct Correlator {
    counts: Recent<Observed>,
    similar: Recent<Similar>,
    budgets: Recent<Budget>,
}

#[derive(Clone, Debug, Default)]
struct Observed {
    count: i32,
    first: Option<Time>,
    name: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Similar {
    messages: BTreeSet<String>,
    last: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Budget {
    tokens: f64,
    at: Timestamp,
}

/// The most recently used entries, at most [`MEMORY`].
#[derive(Debug)]
struct Recent<V> {
    entries: HashMap<String, (u64, V)>,
    order: BTreeMap<u64, String>,
    tick: u64,
}

// === impl Correlator ===

impl Correlator {
    pub(super) fn new() -> Self {
        Self { counts: Recent::new(), similar: Recent::new(), budgets: Recent::new() }
    }

    /// The verdict about an event, and the key under which [`Correlator::sent`] remembers the result.
    pub(super) fn correlate(&mut self, event: Event, now: Timestamp) -> (String, Verdict) {
        let spam_key = spam_key(&event);
        let (mut event, key) = self.aggregate(event, now);
        let observed = self.counts.get_or(&key, Observed::default);
        let verdict = if observed.count > 0 {
            event.metadata.name = observed.name.clone();
            event.first_timestamp = observed.first.clone();
            observed.count = observed.count.saturating_add(1);
            event.count = Some(observed.count);
            Verdict::Update(event)
        } else {
            *observed = Observed { count: 1, first: event.first_timestamp.clone(), name: event.metadata.name.clone() };
            Verdict::Create(event)
        };
        let budget = self.budgets.get_or(&spam_key, || Budget { tokens: SPAM_BURST, at: now });
        if budget.take(now) { (key, verdict) } else { (key, Verdict::Skip) }
    }

    /// Remembers what the server made of an event.
    pub(super) fn sent(&mut self, key: &str, event: &Event) {
        let observed = self.counts.get_or(key, Observed::default);
        *observed = Observed {
            count: event.count.unwrap_or(1),
            first: event.first_timestamp.clone(),
            name: event.metadata.name.clone(),
        };
    }

    fn aggregate(&mut self, mut event: Event, now: Timestamp) -> (Event, String) {
        let key = aggregate_key(&event);
        let message = event.message.clone().unwrap_or_default();
        let similar = self.similar.get_or(&key, Similar::default);
        let stale = similar.last.is_none_or(|last| now.as_second() - last.as_second() > AGGREGATE_WITHIN_SECONDS);
        if stale {
            similar.messages.clear();
        }
        similar.messages.insert(message.clone());
        similar.last = Some(now);
        if similar.messages.len() < AGGREGATE_FROM {
            let key = event_key(&event);
            return (event, key);
        }
        similar.messages.pop_first();
        event.message = Some(format!("(combined from similar events): {message}"));
        event.count = Some(1);
        event.first_timestamp = Some(Time(now));
        event.last_timestamp = Some(Time(now));
        (event, key)
    }
}

impl Budget {
    fn take(&mut self, now: Timestamp) -> bool {
        let elapsed = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.tokens = (self.tokens + elapsed * SPAM_PER_SECOND).min(SPAM_BURST);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

impl<V> Recent<V> {
    fn new() -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), tick: 0 }
    }

    fn get_or(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        self.tick += 1;
        let tick = self.tick;
        let order = &mut self.order;
        if !self.entries.contains_key(key)
            && self.entries.len() >= MEMORY
            && let Some((_, oldest)) = order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        let entry = self.entries.entry(key.to_owned()).or_insert_with(|| (0, make()));
        order.remove(&entry.0);
        entry.0 = tick;
        order.insert(tick, key.to_owned());
        &mut entry.1
    }
}

fn about(event: &Event) -> Vec<&str> {
    let source = event.source.as_ref();
    let object = &event.involved_object;
    [
        source.and_then(|source| source.component.as_deref()),
        source.and_then(|source| source.host.as_deref()),
        object.kind.as_deref(),
        object.namespace.as_deref(),
        object.name.as_deref(),
        object.uid.as_deref(),
        object.api_version.as_deref(),
    ]
    .map(Option::unwrap_or_default)
    .to_vec()
}

fn spam_key(event: &Event) -> String {
    about(event).join("\u{1f}")
}

fn aggregate_key(event: &Event) -> String {
    let mut parts = about(event);
    parts.push(event.type_.as_deref().unwrap_or_default());
    parts.push(event.reason.as_deref().unwrap_or_default());
    parts.join("\u{1f}")
}

fn event_key(event: &Event) -> String {
    let field = event.involved_object.field_path.as_deref().unwrap_or_default();
    let message = event.message.as_deref().unwrap_or_default();
    [&aggregate_key(event), field, message].join("\u{1f}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn event(message: &str) -> Event {
        Event {
            involved_object: ObjectReference { name: Some("web".into()), ..ObjectReference::default() },
            reason: Some("Failed".into()),
            message: Some(message.into()),
            count: Some(1),
            ..Event::default()
        }
    }

    fn text(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Skip => "skip".into(),
            Verdict::Create(event) => format!("create {}", event.message.as_deref().unwrap_or_default()),
            Verdict::Update(event) => {
                format!("update {} x{}", event.message.as_deref().unwrap_or_default(), event.count.unwrap_or(0))
            }
        }
    }

    fn verdicts(messages: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut correlator = Correlator::new();
        messages
            .into_iter()
            .map(|message| text(&correlator.correlate(event(&message), Timestamp::UNIX_EPOCH).1))
            .collect()
    }

    #[test]
    fn equal_events_are_counted() {
        let seen = verdicts(["a", "a", "b", "a"].map(String::from));
        assert_eq!(seen, ["create a", "update a x2", "create b", "update a x3"]);
    }

    #[test]
    fn ten_similar_events_become_one() {
        let seen = verdicts((0..11).map(|number| format!("message {number:02}")));
        assert_eq!(seen[8], "create message 08");
        assert_eq!(seen[9], "create (combined from similar events): message 09");
        assert_eq!(seen[10], "update (combined from similar events): message 10 x2");
    }

    #[test]
    fn spam_is_dropped_after_a_burst_and_the_budget_recovers() {
        let mut correlator = Correlator::new();
        let start = Timestamp::UNIX_EPOCH;
        for _ in 0..25 {
            assert_ne!(text(&correlator.correlate(event("a"), start).1), "skip");
        }
        assert_eq!(text(&correlator.correlate(event("a"), start).1), "skip");
        let later = Timestamp::from_second(301).unwrap();
        assert_eq!(text(&correlator.correlate(event("a"), later).1), "update a x27");
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::new();
        for number in 0..10_000 {
            recent.get_or(&number.to_string(), || number);
        }
        assert_eq!((recent.entries.len(), recent.order.len()), (MEMORY, MEMORY));
    }
}
