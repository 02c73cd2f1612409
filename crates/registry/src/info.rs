//! What a kind declares about itself as data: names, scope, subresources, selectable fields.
//!
//! Routes, discovery, OpenAPI paths and short names derive from it. Holds no behaviour.
//! Upstream counterpart: `metav1.APIResource` and the interfaces of `rest.Storage`.

/// Whether objects of a kind live in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// Which rule a kind's names obey (`NameIsDNSSubdomain` and friends upstream).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    DnsSubdomain,
    DnsLabel,
    Dns1035Label,
    /// Anything that is one URL path segment; RBAC names.
    PathSegment,
}

/// How hard a write of the kind is kept. Leases and Events may lose the last second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Synced,
    Relaxed,
}

/// What the garbage collector does to dependents when a delete request does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GcPolicy {
    DeleteDependents,
    OrphanDependents,
}

/// The names of a kind. Built with [`Info::new`] and the `const` setters, so a list of kinds reads as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// Lower-cased kind; [`Info::new`] leaves it empty and [`Info::singular_name`] derives it.
    pub singular: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    /// Name of the list kind, when it is not the kind with `List` after it.
    pub list_kind: &'static str,
}

impl Info {
    pub const fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        scope: Scope,
    ) -> Self {
        Self { group, version, kind, plural, singular: "", short: &[], categories: &[], scope, list_kind: "" }
    }

    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self::new(group, version, kind, plural, Scope::Namespaced)
    }

    pub const fn cluster(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self::new(group, version, kind, plural, Scope::Cluster)
    }

    pub const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }

    pub const fn categories(mut self, categories: &'static [&'static str]) -> Self {
        self.categories = categories;
        self
    }

    pub const fn singular(mut self, singular: &'static str) -> Self {
        self.singular = singular;
        self
    }

    pub const fn list_kind(mut self, list_kind: &'static str) -> Self {
        self.list_kind = list_kind;
        self
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods` or `deployments.apps`: how upstream's messages name the resource.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Pod` or `Deployment.apps`: how upstream's Invalid message names the kind.
    pub fn group_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    pub fn singular_name(&self) -> String {
        if self.singular.is_empty() { self.kind.to_lowercase() } else { self.singular.to_owned() }
    }

    pub fn list_kind_name(&self) -> String {
        if self.list_kind.is_empty() { format!("{}List", self.kind) } else { self.list_kind.to_owned() }
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

/// Of a kind that is stored.
pub const ALL_VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// One declared subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    pub name: &'static str,
    /// Kind of the body, when it is another than the parent's.
    pub body: Option<BodyKind>,
    pub handler: Handler,
}

/// Group, version and kind of a subresource's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyKind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
}

/// Who serves a subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// get, update, patch of the object; only what `prepare_for_status_update` lets through changes.
    Status,
    /// get, update, patch of an `autoscaling/v1 Scale` through `scale` and `set_scale`.
    Scale,
    /// get, update, patch of the whole object through `prepare_for_subresource_update` and `validate_subresource_update`.
    Update,
    /// update only, otherwise as `Update` (a namespace's `finalize`).
    UpdateOnly,
    /// create only, by the strategy's `action`.
    Action,
    /// A stream or redirected request; the API server owns the connection. Each method maps to its verb.
    Connect,
    /// As `Connect`, and the subresource takes any path below it.
    ConnectPath,
    /// get only, text, streamed by the API server.
    Log,
}

impl Subresource {
    pub const STATUS: Self = Self { name: "status", body: None, handler: Handler::Status };
    pub const SCALE: Self = Self {
        name: "scale",
        body: Some(BodyKind { group: "autoscaling", version: "v1", kind: "Scale" }),
        handler: Handler::Scale,
    };

    pub const fn new(name: &'static str, handler: Handler) -> Self {
        Self { name, body: None, handler }
    }

    pub const fn body(mut self, group: &'static str, version: &'static str, kind: &'static str) -> Self {
        self.body = Some(BodyKind { group, version, kind });
        self
    }
}

/// A field that `fieldSelector` may name beside `metadata.name` and `metadata.namespace`.
///
/// It is read from the stored bytes by path, so that a filtered list or watch decodes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectableField {
    /// As the selector spells it: `spec.nodeName`.
    pub name: &'static str,
    /// Where it is in the object: `["spec", "nodeName"]`. Several: the first that is there and not empty.
    pub paths: &'static [&'static [&'static str]],
    /// What an absent field counts as: `""`, `"false"`, `"0"`.
    pub absent: &'static str,
    /// Many watchers ask for one value each: a change wakes only those whose value it is. One field of a kind.
    pub indexed: bool,
}

impl SelectableField {
    pub const fn new(name: &'static str, paths: &'static [&'static [&'static str]]) -> Self {
        Self { name, paths, absent: "", indexed: false }
    }

    pub const fn absent(mut self, absent: &'static str) -> Self {
        self.absent = absent;
        self
    }

    pub const fn indexed(mut self) -> Self {
        self.indexed = true;
        self
    }
}
