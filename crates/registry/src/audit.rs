//! What a request leaves for the audit log on its way through the server: an id, annotations, bodies.
//!
//! It only gathers; whether and where anything is written is decided by the API server's audit policy. With no audit
//! log configured, it costs an allocation. Upstream counterpart: `k8s.io/apiserver/pkg/audit` (`AuditContext`).

use std::{collections::BTreeMap, sync::OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

/// Most annotations of one request, so that no plugin can fill the memory.
const MAX_ANNOTATIONS: usize = 256;

/// Gathers what is told of one request.
#[derive(Debug, Default)]
pub struct AuditTrail {
    id: OnceLock<String>,
    wants: Wants,
    gathered: Mutex<Gathered>,
}

/// Which parts the policy asks for, so that nothing else is copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    pub annotations: bool,
    pub request: bool,
    pub response: bool,
}

#[derive(Debug, Default)]
struct Gathered {
    annotations: BTreeMap<String, String>,
    request: Option<Bytes>,
    response: Option<Bytes>,
}

impl AuditTrail {
    /// A trail under an id that is known already (the request's `Audit-ID` header).
    pub fn new(id: String, wants: Wants) -> Self {
        Self { id: OnceLock::from(id), wants, gathered: Mutex::default() }
    }

    /// `Audit-ID`: a UUID, unless the client has said another.
    pub fn id(&self) -> &str {
        self.id.get_or_init(|| uuid::Uuid::new_v4().to_string())
    }

    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// Adds an annotation, such as `authorization.k8s.io/decision`. The first value of a key stays.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        if !self.wants.annotations {
            return;
        }
        let value = value.into();
        let mut gathered = self.gathered.lock();
        match gathered.annotations.get(key) {
            Some(known) if *known != value => tracing::warn!(key, "an audit annotation has a value already"),
            Some(_) => {}
            None if gathered.annotations.len() >= MAX_ANNOTATIONS => {
                tracing::warn!(key, "too many audit annotations");
            }
            None => {
                gathered.annotations.insert(key.to_owned(), value);
            }
        }
    }

    /// JSON of the request's object, or the patch as it came. Its name and version are told even where it is not.
    pub fn set_request(&self, body: &Bytes) {
        if self.wants.annotations || self.wants.request {
            self.gathered.lock().request.get_or_insert_with(|| body.clone());
        }
    }

    /// JSON of the object that is answered.
    pub fn set_response(&self, body: &Bytes) {
        if self.wants.response {
            self.gathered.lock().response = Some(body.clone());
        }
    }

    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.gathered.lock().annotations.clone()
    }

    /// To be told only where [`Wants::request`] says so.
    pub fn request(&self) -> Option<Bytes> {
        self.gathered.lock().request.clone()
    }

    pub fn response(&self) -> Option<Bytes> {
        self.gathered.lock().response.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_annotation_stays_and_only_what_is_wanted_is_kept() {
        let trail = AuditTrail::new("a".into(), Wants { annotations: true, request: false, response: true });
        let other = AuditTrail::default();
        other.set_request(&Bytes::from_static(b"{}"));
        assert_eq!(other.request(), None);
        trail.annotate("k", "1");
        trail.annotate("k", "2");
        trail.set_request(&Bytes::from_static(b"{}"));
        trail.set_response(&Bytes::from_static(b"[]"));
        assert_eq!(trail.annotations()["k"], "1");
        assert_eq!(trail.response(), Some(Bytes::from_static(b"[]")));
        assert_eq!(trail.id(), "a");
        assert!(!AuditTrail::default().id().is_empty());
    }
}
