//! Who asks for what: the facts of one request that hooks and policies may look at.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/endpoints/request` and `authentication/user`.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use apimachinery::ApiError;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;

use crate::{audit::AuditTrail, options::RequestOptions, reader::Reader};

/// An authenticated identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    pub const ANONYMOUS: &'static str = "system:anonymous";
    pub const AUTHENTICATED_GROUP: &'static str = "system:authenticated";
    pub const UNAUTHENTICATED_GROUP: &'static str = "system:unauthenticated";
    pub const MASTERS_GROUP: &'static str = "system:masters";

    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), groups: groups.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub fn anonymous() -> Self {
        Self::new(Self::ANONYMOUS, [Self::UNAUTHENTICATED_GROUP])
    }

    /// The identity under which the API server itself acts (`system:apiserver`, a member of `system:masters`).
    pub fn loopback() -> Self {
        Self::new("system:apiserver", [Self::MASTERS_GROUP, Self::AUTHENTICATED_GROUP])
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|member| member == group)
    }
}

/// What a request does, as RBAC names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Legacy `/proxy/` prefix and `connect`-like methods keep their HTTP-derived verb; this is for those without.
    Proxy,
}

impl Verb {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Proxy => "proxy",
        }
    }
}

/// Whether the caller of an update or apply may also create what is not there.
pub trait MayCreate: Send + Sync {
    fn check(&self) -> BoxFuture<'_, Result<(), ApiError>>;
}

/// The request, as hooks of a strategy see it.
pub struct RequestCx {
    pub user: Arc<UserInfo>,
    pub verb: Verb,
    /// The request's time; everything stamped during the request uses it.
    pub now: Timestamp,
    pub dry_run: bool,
    /// `""` for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
    /// `""` for the object itself.
    pub subresource: String,
    /// Whose the fields are that the request sets: `fieldManager`, or what is made of the `User-Agent`.
    pub field_manager: String,
    /// Asked before an update or apply creates an object; none: it may.
    pub may_create: Option<Arc<dyn MayCreate>>,
    /// What is in the store, at the time it is asked.
    pub reader: Reader,
    /// What is told of the request in the audit log.
    pub audit: Arc<AuditTrail>,
    options: OnceLock<RequestOptions>,
    warnings: Mutex<Vec<String>>,
}

impl RequestCx {
    pub fn new(user: Arc<UserInfo>, verb: Verb, now: Timestamp, reader: Reader) -> Self {
        Self {
            user,
            verb,
            now,
            dry_run: false,
            namespace: String::new(),
            name: String::new(),
            subresource: String::new(),
            field_manager: String::new(),
            may_create: None,
            reader,
            audit: Arc::default(),
            options: OnceLock::new(),
            warnings: Mutex::default(),
        }
    }

    pub fn time(&self) -> Time {
        Time(self.now)
    }

    /// What the client asked for beside the object itself, for admission. The first stays.
    pub fn set_options(&self, options: impl FnOnce() -> RequestOptions) {
        self.options.get_or_init(options);
    }

    pub fn options(&self) -> Option<&RequestOptions> {
        self.options.get()
    }

    /// Adds a `Warning` header to the answer; each text once.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }

    /// Adds an annotation to the request's audit event, such as `pod-security.kubernetes.io/enforce-policy`.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        self.audit.annotate(key, value);
    }

    pub fn audit_id(&self) -> &str {
        self.audit.id()
    }
}
