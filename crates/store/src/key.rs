//! Names of objects within a resource, ordered as upstream orders them.

use std::fmt;
use std::sync::Arc;

/// `namespace/name`, or `name` for a resource without namespaces.
///
/// It is one string, ordered by its bytes, because that is the order of etcd's keys and so of upstream's lists:
/// `kube-system-x/a` comes before `kube-system/a`. A clone is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// A namespace or name that cannot be part of a key. Validation refuses it long before with upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be a segment of a key")]
pub struct InvalidKey(pub String);

// === impl Key ===

impl Key {
    /// An empty `namespace` means that the resource has none.
    pub fn new(namespace: &str, name: &str) -> Result<Key, InvalidKey> {
        for segment in [namespace, name] {
            if segment.contains(['/', '\0']) {
                return Err(InvalidKey(segment.to_owned()));
            }
        }
        if name.is_empty() {
            return Err(InvalidKey(String::new()));
        }
        Ok(match namespace {
            "" => Key(Arc::from(name)),
            _ => Key(Arc::from(format!("{namespace}/{name}"))),
        })
    }

    /// Of what an engine gave back.
    pub(crate) fn from_path(path: Arc<str>) -> Key {
        Key(path)
    }

    /// Empty for a resource without namespaces.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, name)| name)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn path(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_order_is_that_of_bytes() {
        let key = |namespace, name| Key::new(namespace, name).unwrap();
        assert_eq!((key("a", "b").namespace(), key("a", "b").name()), ("a", "b"));
        assert_eq!((key("", "b").namespace(), key("", "b").name()), ("", "b"));
        assert!(key("kube-system-x", "a") < key("kube-system", "a"));
    }

    #[test]
    fn segments_cannot_forge_another_key() {
        assert!(Key::new("a/b", "c").is_err());
        assert!(Key::new("", "b/c").is_err());
        assert!(Key::new("a", "").is_err());
        assert!(Key::new("a", "b\0").is_err());
    }
}
