//! Feeds one cache from one list and watch. Upstream: client-go `cache.Reflector`.
//!
//! The list comes as a stream of initial events; a server that does not know them is listed in pages. A watch that
//! ends is resumed at the last revision; one that is too old is listed again, and only the differences are applied.

mod stream;

use std::{collections::BTreeMap, io, time::Duration};

use apimachinery::ObjectKey;
use kube::{
    Client,
    api::{ListParams, WatchParams},
    core::Request,
};
use rand::RngExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use self::stream::{Event, Events};
use crate::{Backoff, Cache, Object};

/// Where the objects of a cache come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) fields: String,
    pub(crate) labels: String,
    pub(crate) metadata_only: bool,
}

/// A list that is not streamed comes in pages of this size, as client-go's pager asks for.
const PAGE: u32 = 500;

/// After a stream of this age the failures before it no longer count.
const HEALTHY: Duration = Duration::from_secs(120);

/// A stream that ends earlier than this without an event is a failure, or an idle server would be asked in a loop.
const TOO_SHORT: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("revision too old")]
    Expired,
    #[error("initial events not supported")]
    NoInitialEvents,
    #[error("watch ended at once")]
    TooShort,
    #[error("silence past the agreed end of the watch")]
    Silence,
    #[error("watch broken")]
    Broken(#[source] io::Error),
    #[error("event too long")]
    TooLong,
    #[error(transparent)]
    Client(#[from] kube::Error),
    #[error(transparent)]
    Decode(#[from] serde_json::Error),
}

/// Never ends; dropped with its cache's owner.
pub(crate) async fn run<K: Object>(client: Client, source: Source, cache: Cache<K>) {
    let mut reflector =
        Reflector { client, source, cache, position: None, streaming: true, backoff: default_backoff() };
    loop {
        let started = Instant::now();
        let outcome = reflector.follow().await;
        if started.elapsed() > HEALTHY {
            reflector.backoff.reset();
        }
        let Err(failure) = outcome else { continue };
        match failure {
            Failure::Expired if reflector.position.is_some() => {
                debug!(path = reflector.source.path, "revision too old, listing again");
                reflector.position = None;
                continue;
            }
            Failure::NoInitialEvents if reflector.streaming => {
                debug!(path = reflector.source.path, "server does not stream lists");
                reflector.streaming = false;
                continue;
            }
            _ => {}
        }
        let delay = reflector.backoff.next_delay();
        warn!(path = reflector.source.path, error = %failure, ?delay, "watch failed");
        tokio::time::sleep(delay).await;
    }
}

struct Reflector<K: Object> {
    client: Client,
    source: Source,
    cache: Cache<K>,
    /// The revision to resume at; `None`: a list is needed.
    position: Option<String>,
    streaming: bool,
    backoff: Backoff,
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_token: String,
}

// === impl Reflector ===

impl<K: Object> Reflector<K> {
    /// Lists if need be and applies events until the stream ends.
    async fn follow(&mut self) -> Result<(), Failure> {
        if self.position.is_none() && !self.streaming {
            self.list().await?;
        }
        let timeout = rand::rng().random_range(300..600);
        let started = Instant::now();
        let mut events = self.watch(timeout).await?;
        let mut initial = self.position.is_none().then(BTreeMap::new);
        let mut count = 0usize;
        // A server that died without closing the connection is noticed by its silence.
        let end = started + Duration::from_secs(u64::from(timeout) + 30);
        loop {
            let event = match tokio::time::timeout_at(end, events.next::<K>()).await {
                Err(_) => return Err(Failure::Silence),
                Ok(outcome) => match outcome? {
                    None => break,
                    Some(event) => event,
                },
            };
            count += 1;
            self.take(event, &mut initial)?;
        }
        if count == 0 && started.elapsed() < TOO_SHORT {
            return Err(Failure::TooShort);
        }
        if initial.is_some() {
            return Err(Failure::TooShort);
        }
        Ok(())
    }

    fn take(&mut self, event: Event<K>, initial: &mut Option<BTreeMap<ObjectKey, K>>) -> Result<(), Failure> {
        match event {
            Event::Present(mut object) => {
                object.trim();
                match initial {
                    Some(objects) => {
                        objects.insert(object.key(), object);
                    }
                    None => self.apply(object, Fate::Stays),
                }
            }
            Event::Gone(object) => match initial {
                Some(objects) => {
                    objects.remove(&object.key());
                }
                None => self.apply(object, Fate::Goes),
            },
            Event::Bookmark { revision, ends_list } => {
                if initial.is_none() {
                    self.cache.advance(number(&revision));
                } else if ends_list {
                    self.cache.replace(initial.take().unwrap_or_default().into_values(), number(&revision));
                    self.backoff.reset();
                } else {
                    return Ok(());
                }
                self.position = Some(revision);
            }
            Event::Undecodable(error) => {
                error!(path = self.source.path, %error, "object in watch cannot be decoded");
            }
            Event::Error(status) => return Err(self.classify(kube::Error::Api(status))),
        }
        Ok(())
    }

    fn apply(&mut self, object: K, fate: Fate) {
        let key = object.key();
        let revision = object.meta().resource_version.clone().unwrap_or_default();
        let seen = number(&revision);
        self.cache.apply(&key, matches!(fate, Fate::Stays).then_some(object), seen);
        self.position = Some(revision);
    }

    async fn watch(&self, timeout: u32) -> Result<Events, Failure> {
        let params = WatchParams {
            label_selector: non_empty(&self.source.labels),
            field_selector: non_empty(&self.source.fields),
            timeout: Some(timeout),
            bookmarks: true,
            send_initial_events: self.position.is_none(),
        };
        let version = self.position.as_deref().unwrap_or("");
        let request = Request::new(self.source.path.clone());
        let request = if self.source.metadata_only {
            request.watch_metadata(&params, version)
        } else {
            request.watch(&params, version)
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        Events::open(&self.client, request).await.map_err(|error| self.classify(error))
    }

    async fn list(&mut self) -> Result<(), Failure> {
        let mut objects = Vec::new();
        let mut token = None;
        let revision = loop {
            let params = ListParams {
                label_selector: non_empty(&self.source.labels),
                field_selector: non_empty(&self.source.fields),
                limit: Some(PAGE),
                continue_token: token,
                ..ListParams::default()
            };
            let request = Request::new(self.source.path.clone());
            let request =
                if self.source.metadata_only { request.list_metadata(&params) } else { request.list(&params) };
            let page: Page = self.client.request(request.map_err(kube::Error::BuildRequest)?).await?;
            for item in page.items.unwrap_or_default() {
                match K::decode(&item) {
                    Ok(mut object) => {
                        object.trim();
                        objects.push(object);
                    }
                    Err(error) => error!(path = self.source.path, %error, "object in list cannot be decoded"),
                }
            }
            if page.metadata.continue_token.is_empty() {
                break page.metadata.resource_version;
            }
            token = Some(page.metadata.continue_token);
        };
        self.cache.replace(objects, number(&revision));
        self.backoff.reset();
        self.position = Some(revision);
        Ok(())
    }

    fn classify(&self, error: kube::Error) -> Failure {
        match &error {
            kube::Error::Api(status) if status.code == 410 || status.reason == "Expired" || status.reason == "Gone" => {
                Failure::Expired
            }
            kube::Error::Api(status) if self.position.is_none() && (status.is_invalid() || status.code == 400) => {
                Failure::NoInitialEvents
            }
            _ => Failure::Client(error),
        }
    }
}

enum Fate {
    Stays,
    Goes,
}

fn default_backoff() -> Backoff {
    // Starts lower than upstream's 800 ms: the server of the same process is up within milliseconds.
    Backoff::new(Duration::from_millis(50), Duration::from_secs(30))
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(revision: &str) -> u64 {
    revision.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests;
