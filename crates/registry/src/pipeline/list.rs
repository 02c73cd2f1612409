//! List: snapshots, resource versions, pages. Upstream: `storage/cacher`, `storage/continue.go`, the table in
//! "Resource versions" of the API concepts.

use std::sync::Arc;

use apimachinery::{ApiError, ResourceVersion};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Entry, Key, Range, Revision, Snapshot, SnapshotError};

use super::{Kind, Registry, Selection, select::selects_nothing};
use crate::options::{ListOptions, VersionMatch};

/// One page of a list; the whole of it when no limit was asked for.
pub struct ListPage {
    pub revision: Revision,
    /// Empty on the last page.
    pub continue_token: String,
    /// How many follow the page, where it is known.
    pub remaining: Option<u64>,
    pub items: Items,
}

/// The entries of a page. Unlimited ones are walked lazily over their snapshot.
pub enum Items {
    Page(std::vec::IntoIter<Arc<Entry>>),
    All { range: Range, selection: Selection },
}

/// Upstream's `continueToken`.
#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Registry {
    /// Lists a namespace, or all when it is empty.
    pub fn list(
        &self,
        kind: &Kind,
        namespace: &str,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<ListPage, ApiError> {
        let (snapshot, start) = self.begin(kind, namespace, options)?;
        let namespace = if kind.info().is_namespaced() { namespace } else { "" };
        let revision = snapshot.revision();
        if let Some(items) = exact(kind, &snapshot, namespace, selection) {
            return Ok(ListPage::last(revision, items));
        }
        if selects_nothing(selection) {
            return Ok(ListPage::last(revision, Items::Page(Vec::new().into_iter())));
        }
        let range = snapshot.range(namespace, start.as_ref());
        // Whoever takes any version gets it from a cache upstream, in one piece.
        let any_version = options.resource_version.is_some_and(|version| version.0 == 0);
        if options.limit == 0 || (any_version && options.continue_token.is_empty()) {
            return Ok(ListPage::last(revision, Items::All { range, selection: selection.clone() }));
        }
        let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
        let mut matching = range.filter(|entry| selection.matches(entry.bytes()));
        let page: Vec<_> = matching.by_ref().take(limit).collect();
        let (Some(last), true) = (page.last(), matching.next().is_some()) else {
            return Ok(ListPage::last(revision, Items::Page(page.into_iter())));
        };
        let last = last.key().clone();
        let remaining = selection.is_everything().then(|| snapshot.count(namespace, Some(&last)) as u64);
        let continue_token = encode(&last, namespace, i64::try_from(revision.0).unwrap_or(i64::MAX));
        Ok(ListPage { revision, continue_token, remaining, items: Items::Page(page.into_iter()) })
    }
}

impl Registry {
    /// As [`Registry::list`], with each object as the kind's clients see it. The page itself has no items.
    pub async fn list_presented(
        &self,
        kind: &Kind,
        namespace: &str,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<(ListPage, Vec<Presented>), ApiError> {
        let nothing = || Items::Page(Vec::new().into_iter());
        if !kind.selects_presented(selection) {
            let mut page = self.list(kind, namespace, selection, options)?;
            let entries: Vec<_> = std::mem::replace(&mut page.items, nothing()).collect();
            return Ok((page, presented(kind, entries).await?));
        }
        // What is looked for is not in the stored bytes: pages are filled with what is found as they are converted.
        let identity = selection.of_identity();
        let any_version = options.resource_version.is_some_and(|version| version.0 == 0);
        let limit = match options.limit {
            0 => usize::MAX,
            _ if any_version && options.continue_token.is_empty() => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let (snapshot, after) = self.begin(kind, namespace, options)?;
        let namespace = if kind.info().is_namespaced() { namespace } else { "" };
        let mut page = ListPage::last(snapshot.revision(), nothing());
        if selects_nothing(selection) {
            return Ok((page, Vec::new()));
        }
        let mut entries = match exact(kind, &snapshot, namespace, &identity) {
            Some(one) => one,
            None => Items::All { range: snapshot.range(namespace, after.as_ref()), selection: identity },
        };
        let mut found: Vec<Presented> = Vec::new();
        loop {
            let some: Vec<_> = entries.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok((page, found));
            }
            for one in presented(kind, some).await?.into_iter().filter(|one| selection.matches(&one.bytes)) {
                if found.len() < limit {
                    found.push(one);
                    continue;
                }
                let revision = i64::try_from(page.revision.0).unwrap_or(i64::MAX);
                page.continue_token =
                    found.last().map(|last| encode(last.entry.key(), namespace, revision)).unwrap_or_default();
                return Ok((page, found));
            }
        }
    }

    /// The state that is listed, and the key after which the page begins.
    fn begin(&self, kind: &Kind, namespace: &str, options: &ListOptions) -> Result<(Snapshot, Option<Key>), ApiError> {
        let namespace = if kind.info().is_namespaced() { namespace } else { "" };
        match options.continue_token.is_empty() {
            true => Ok((snapshot(kind, options)?, None)),
            false => continued(kind, namespace, options),
        }
    }
}

/// So many objects are converted at once while others are looked for.
const AT_ONCE: usize = 500;

/// A stored object, and what the kind's clients see of it.
pub struct Presented {
    pub entry: Arc<Entry>,
    pub bytes: Bytes,
}

async fn presented(kind: &Kind, entries: Vec<Arc<Entry>>) -> Result<Vec<Presented>, ApiError> {
    let made = kind.present_all(entries.iter().map(|entry| entry.bytes().clone()).collect()).await?;
    Ok(entries.into_iter().zip(made).map(|(entry, bytes)| Presented { entry, bytes }).collect())
}

/// The one object that can match, where the selection names it: no walk over the others.
pub(super) fn exact(kind: &Kind, snapshot: &Snapshot, namespace: &str, selection: &Selection) -> Option<Items> {
    let name = selection.exact_name().filter(|_| !namespace.is_empty() || !kind.info().is_namespaced())?;
    let entry = Key::new(namespace, name).ok().and_then(|key| snapshot.get(&key));
    let items: Vec<_> = entry.into_iter().filter(|entry| selection.matches(entry.bytes())).collect();
    Some(Items::Page(items.into_iter()))
}

impl Kind {
    /// How many objects there are of a namespace, or of all when it is empty, and how large they are on average: a
    /// guess from a few of them. Costs two descents.
    pub fn statistics(&self, namespace: &str) -> (usize, usize) {
        const LOOKED_AT: usize = 8;
        let namespace = if self.info().is_namespaced() { namespace } else { "" };
        let snapshot = self.table.snapshot();
        let count = snapshot.count(namespace, None);
        let sizes: Vec<usize> =
            snapshot.range(namespace, None).take(LOOKED_AT).map(|entry| entry.bytes().len()).collect();
        (count, sizes.iter().sum::<usize>() / sizes.len().max(1))
    }

    /// How many watches a change of this object wakes.
    pub fn watchers(&self, namespace: &str, name: &str) -> usize {
        let namespace = if self.info().is_namespaced() { namespace } else { "" };
        self.table.interested(namespace, name)
    }

    /// How many objects are stored.
    pub fn count(&self) -> usize {
        self.table.snapshot().len()
    }
}

impl ListPage {
    fn last(revision: Revision, items: Items) -> Self {
        Self { revision, continue_token: String::new(), remaining: None, items }
    }
}

impl Iterator for Items {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        match self {
            Self::Page(entries) => entries.next(),
            Self::All { range, selection } => {
                if selection.is_everything() {
                    return range.next();
                }
                range.find(|entry| selection.matches(entry.bytes()))
            }
        }
    }
}

/// The snapshot that `resourceVersion`, its match and the limit ask for.
fn snapshot(kind: &Kind, options: &ListOptions) -> Result<Snapshot, ApiError> {
    let Some(ResourceVersion(version)) = options.resource_version.filter(|version| version.0 > 0) else {
        return Ok(kind.table.snapshot());
    };
    // A limit without a match is read as Exact, as upstream documents.
    let exact = match options.version_match {
        Some(VersionMatch::Exact) => true,
        Some(VersionMatch::NotOlderThan) => false,
        None => options.limit > 0,
    };
    if exact {
        return kind.table.snapshot_at(Revision(version)).map_err(|error| match error {
            SnapshotError::Compacted { .. } => {
                ApiError::expired("The resourceVersion for the provided list is too old.")
            }
            SnapshotError::Future { current, .. } => ApiError::too_large_resource_version(version, current.0),
        });
    }
    not_older_than(kind, version)
}

/// The newest snapshot, which must not be older than the version.
pub(super) fn not_older_than(kind: &Kind, version: u64) -> Result<Snapshot, ApiError> {
    let snapshot = kind.table.snapshot();
    if snapshot.revision().0 < version {
        return Err(ApiError::too_large_resource_version(version, snapshot.revision().0));
    }
    Ok(snapshot)
}

fn continued(kind: &Kind, namespace: &str, options: &ListOptions) -> Result<(Snapshot, Option<Key>), ApiError> {
    if options.resource_version.is_some_and(|version| version.0 > 0) {
        return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
    }
    let (key, version) = decode(&options.continue_token, namespace)?;
    let Ok(version) = u64::try_from(version) else {
        // A negative version: go on with whatever is there now.
        return Ok((kind.table.snapshot(), Some(key)));
    };
    match kind.table.snapshot_at(Revision(version)) {
        Ok(snapshot) => Ok((snapshot, Some(key))),
        Err(SnapshotError::Compacted { .. }) => {
            let mut error = ApiError::expired(TOO_OLD);
            error.continue_token = Some(encode(&key, namespace, -1));
            Err(error)
        }
        Err(SnapshotError::Future { .. }) => {
            Err(invalid_token("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"))
        }
    }
}

fn encode(last: &Key, namespace: &str, version: i64) -> String {
    let path = last.as_str();
    let relative = if namespace.is_empty() { path } else { last.name() };
    let token = Token { v: "meta.k8s.io/v1".to_owned(), rv: version, start: format!("{relative}\0") };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn invalid_token(why: &str) -> ApiError {
    ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
}

/// The last key of the page before, and the version it was read at.
fn decode(token: &str, namespace: &str) -> Result<(Key, i64), ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| invalid_token(&error.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| invalid_token(&error.to_string()))?;
    if token.v != "meta.k8s.io/v1" {
        return Err(invalid_token(&format!("server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(invalid_token("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    let start = token.start.trim_end_matches('\0').trim_start_matches('/');
    if start.is_empty() {
        return Err(invalid_token("encoded start key empty (version meta.k8s.io/v1)"));
    }
    // The key is only ever looked for within the request's own namespace, whatever the token says.
    let key = match (namespace, start.split_once('/')) {
        ("", Some((namespace, name))) => Key::new(namespace, name),
        ("", None) => Key::new("", start),
        (namespace, _) => Key::new(namespace, start),
    };
    key.map(|key| (key, token.rv)).map_err(|_| invalid_token(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for namespace in ["", "kube-system"] {
            let key = Key::new("kube-system", "a").unwrap();
            assert_eq!(decode(&encode(&key, namespace, 7), namespace).unwrap(), (key, 7));
        }
    }

    #[test]
    fn forged_tokens_are_refused() {
        let token = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for (bad, message) in [
            ("%%%".to_owned(), "continue key is not valid"),
            (token("{}"), "does not recognize"),
            (token(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#), "start resourceVersion"),
            (token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#), "start key empty"),
            (token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../../secrets/x"}"#), "continue key is not valid"),
        ] {
            let error = decode(&bad, "default").unwrap_err();
            assert!(error.message.contains(message), "{}", error.message);
            assert_eq!(error.code, 400);
        }
    }
}
