//! Reading what is stored, for hooks, admission and actions: a snapshot in memory, so reads are cheap and do not wait.
//!
//! Upstream counterpart: the informers and listers that admission plugins and registries hold.

use std::sync::Arc;

use bytes::Bytes;

use crate::Object;

/// Where a [`Reader`] reads. The registry implements it over the store.
pub trait ReadObjects: Send + Sync {
    /// JSON of the object, its `resourceVersion` included.
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Bytes>;
    /// All objects of a resource, of one namespace or of all, in key order.
    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Bytes>;

    /// How many objects of a resource there are.
    fn count(&self, group: &str, plural: &str) -> usize {
        self.list(group, plural, None).len()
    }

    /// A cluster-wide record that is no object of a served kind, by what the store calls it: JSON with its revision.
    fn record(&self, _resource: &str, _name: &str) -> Option<Bytes> {
        None
    }
}

#[derive(Clone)]
pub struct Reader(Arc<dyn ReadObjects>);

impl Reader {
    pub fn new(objects: Arc<dyn ReadObjects>) -> Self {
        Self(objects)
    }

    /// An object by resource and key; `namespace` is `""` for cluster-scoped ones. An object of another type than `T`
    /// counts as absent.
    pub fn get<T: Object>(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<T> {
        let bytes = self.0.get(group, plural, namespace, name)?;
        decode(&bytes)
    }

    /// Stored JSON of an object.
    pub fn raw(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Bytes> {
        self.0.get(group, plural, namespace, name)
    }

    pub fn exists(&self, group: &str, plural: &str, namespace: &str, name: &str) -> bool {
        self.0.get(group, plural, namespace, name).is_some()
    }

    pub fn list<T: Object>(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<T> {
        self.list_where(group, plural, namespace, |_| true)
    }

    /// Those whose stored bytes are wanted; the others are not decoded.
    pub fn list_where<T: Object>(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Vec<T> {
        let all = self.0.list(group, plural, namespace);
        all.iter().filter(|bytes| is_wanted(bytes)).filter_map(|bytes| decode(bytes)).collect()
    }

    pub fn count(&self, group: &str, plural: &str) -> usize {
        self.0.count(group, plural)
    }

    /// A record that is no object of a served kind.
    pub fn record(&self, resource: &str, name: &str) -> Option<Bytes> {
        self.0.record(resource, name)
    }
}

fn decode<T: Object>(bytes: &[u8]) -> Option<T> {
    match apimachinery::json::without_owners(bytes) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(%error, "stored object does not decode");
            None
        }
    }
}

/// Reads nothing: for tests of strategies.
pub struct Nothing;

impl ReadObjects for Nothing {
    fn get(&self, _group: &str, _plural: &str, _namespace: &str, _name: &str) -> Option<Bytes> {
        None
    }

    fn list(&self, _group: &str, _plural: &str, _namespace: Option<&str>) -> Vec<Bytes> {
        Vec::new()
    }
}
