//! Records events about objects. Upstream: client-go `tools/record`.
//!
//! Recording never waits and never fails the caller: a bounded channel feeds one task, which correlates, aggregates
//! and sends. When the channel is full, events are dropped, as upstream's broadcaster does.

mod correlator;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    Resource as _,
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use supervisor::Supervisor;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use self::correlator::{Correlator, Verdict};
use crate::Object;

/// How many events may wait to be sent. Upstream: the broadcaster's `maxQueuedEvents`.
const QUEUE: usize = 1000;

/// How often an event is tried while the server cannot be reached. Upstream: `maxTriesPerEvent`.
const TRIES: u32 = 12;

/// The pause between tries. Upstream: `defaultSleepDuration`.
const PAUSE: Duration = Duration::from_secs(10);

/// Whether an event tells of the usual course of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Information only.
    Normal,
    /// Something may go wrong.
    Warning,
}

/// Records events of one component; clones share its task.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Event>,
    source: Arc<EventSource>,
}

/// A reference to an object, as events carry it. Upstream: `reference.GetReference`.
pub fn reference<K: Object + k8s_openapi::Resource>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

// === impl EventKind ===

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

// === impl Recorder ===

impl Recorder {
    /// A recorder for a component (`deployment-controller`, `kubelet`); `host` is the node it runs on, or empty.
    pub fn new(client: Client, component: &str, host: &str, supervisor: &Supervisor) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        supervisor.spawn("events", send_all(client, receiver));
        let source =
            EventSource { component: Some(component.to_owned()), host: (!host.is_empty()).then(|| host.to_owned()) };
        Self { sender, source: Arc::new(source) }
    }

    /// A recorder whose events the caller reads, for tests.
    pub fn to_channel(component: &str) -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let source = EventSource { component: Some(component.to_owned()), host: None };
        (Self { sender, source: Arc::new(source) }, receiver)
    }

    /// Records that something happened to an object.
    pub fn object<K: Object + k8s_openapi::Resource>(
        &self,
        object: &K,
        kind: EventKind,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event(&reference(object), kind, reason, message);
    }

    /// Records that something happened to what is referred to.
    pub fn event(&self, about: &ObjectReference, kind: EventKind, reason: &str, message: impl Into<String>) {
        let now = Timestamp::now();
        let event = Event {
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some((*self.source).clone()),
            reporting_instance: self.source.host.clone(),
            ..self.about(about, kind, reason, message.into(), now)
        };
        self.send(event);
    }

    /// Records an action that is taken on an object once, in the way of `events.k8s.io`: with the time of the event
    /// itself in place of a first and a last, so that lists show it before what followed in the same second.
    /// Upstream: client-go `tools/events`.
    pub fn action<K: Object + k8s_openapi::Resource>(
        &self,
        object: &K,
        kind: EventKind,
        reason: &str,
        action: &str,
        message: impl Into<String>,
    ) {
        let now = Timestamp::now();
        let component = self.source.component.clone().unwrap_or_default();
        let instance = match &self.source.host {
            Some(host) => format!("{component}-{host}"),
            None => component,
        };
        let event = Event {
            action: Some(action.to_owned()),
            event_time: Some(MicroTime(now)),
            reporting_instance: Some(instance),
            ..self.about(&reference(object), kind, reason, message.into(), now)
        };
        self.send(event);
    }

    fn about(&self, about: &ObjectReference, kind: EventKind, reason: &str, message: String, now: Timestamp) -> Event {
        let namespace = about.namespace.clone().filter(|namespace| !namespace.is_empty());
        let name = about.name.clone().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: about.clone(),
            type_: Some(kind.as_str().to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            reporting_component: self.source.component.clone(),
            ..Event::default()
        }
    }

    fn send(&self, event: Event) {
        let reason = event.reason.clone().unwrap_or_default();
        let name = event.involved_object.name.clone().unwrap_or_default();
        if self.sender.try_send(event).is_err() {
            warn!(reason, name, "event dropped, too many are waiting");
        }
    }
}

async fn send_all(client: Client, mut events: mpsc::Receiver<Event>) {
    let mut correlator = Correlator::new();
    while let Some(event) = events.recv().await {
        let now = Timestamp::now();
        let (key, verdict) = correlator.correlate(event, now);
        for _ in 0..TRIES {
            match send(&client, &verdict).await {
                Ok(None) => break,
                Ok(Some(sent)) => {
                    correlator.sent(&key, &sent);
                    break;
                }
                Err(error @ kube::Error::Api(_)) => {
                    // The server has answered; asking again would bring the same answer.
                    debug!(%error, "event rejected");
                    break;
                }
                Err(error) => {
                    debug!(%error, "event not sent");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn send(client: &Client, verdict: &Verdict) -> Result<Option<Event>, kube::Error> {
    match verdict {
        Verdict::Skip => Ok(None),
        Verdict::Create(event) => {
            let api = Api::<Event>::namespaced(client.clone(), namespace_of(event));
            api.create(&PostParams::default(), event).await.map(Some)
        }
        Verdict::Update(event) => {
            let api = Api::<Event>::namespaced(client.clone(), namespace_of(event));
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let patch = serde_json::json!({
                "apiVersion": Event::API_VERSION, "kind": Event::KIND,
                "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message,
            });
            match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    // It has expired meanwhile; the count goes on in a new one.
                    let mut event = event.clone();
                    event.metadata.resource_version = None;
                    api.create(&PostParams::default(), &event).await.map(Some)
                }
                other => other.map(Some),
            }
        }
    }
}

fn namespace_of(event: &Event) -> &str {
    event.metadata.namespace.as_deref().unwrap_or("default")
}
