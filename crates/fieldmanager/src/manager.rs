//! The rules around ownership: whose entry a write makes, when it is stamped, what never counts as owned, how many
//! entries there may be, and how the annotation of client-side apply is taken over and kept in step.
//!
//! Upstream: the chain of `managedfields/internal` (`fieldmanager.go`, `lastapplied*.go`, `capmanagers.go`, …).

use std::{collections::BTreeMap, sync::LazyLock};

use schema::{Node, json::Object};

use crate::{
    conflict::Conflicts,
    managed::{Managed, ManagerId, VersionedSet},
    set::Set,
    typed::{Invalid, TypeRef, TypedValue},
    updater::{self, Compare, Failure, Versions},
};

/// Most entries of updates that are kept apart. Upstream: `DefaultMaxUpdateManagers`.
const MAX_UPDATERS: usize = 10;
/// Who has what was there before the first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Whose the fields of the oldest updates become.
const ANCIENT_CHANGES: &str = "ancient-changes";
/// The annotation in which `kubectl apply` keeps what it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Most bytes of all annotations. Upstream: `TotalAnnotationSizeLimitB`.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// What nobody owns. Upstream: `stripMetaManager`.
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
    Set::of_fields([
        ["apiVersion"].as_slice(),
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// Who writes, through which endpoint, and when.
#[derive(Clone, Copy)]
pub struct Operation<'a> {
    /// The name the client gave, or what is made of its `User-Agent`.
    pub manager: &'a str,
    /// `""` on the object itself.
    pub subresource: &'a str,
    /// The request's version: `apps/v1`.
    pub api_version: &'a str,
    /// RFC 3339, to the second, in UTC.
    pub now: &'a str,
    pub versions: &'a dyn Versions,
}

/// What an apply made.
#[derive(Debug)]
pub struct Applied {
    /// None: the live object stays as it is, only its entries may be others.
    pub object: Option<Node<'static>>,
    pub managed: Managed,
}

/// Why an apply came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// 400.
    #[error("{0}")]
    BadRequest(String),
    /// Upstream answers 500 without a reason, though it is mostly the configuration that is wrong.
    #[error("{0}")]
    Failed(String),
}

impl Operation<'_> {
    fn manager(&self) -> &str {
        if self.manager.is_empty() { "unknown" } else { self.manager }
    }

    /// An update: the object is as it will be, only the entries are made. `compare` tells what changed.
    ///
    /// An object without entries that was there before stays without, until somebody applies to it.
    pub fn update(&self, managed: Managed, created: bool, compare: &mut Compare<'_>) -> Result<Managed, Invalid> {
        if managed.is_empty() && !created {
            return Ok(managed);
        }
        self.tracked(managed, self.manager(), compare)
    }

    fn tracked(&self, managed: Managed, manager: &str, compare: &mut Compare<'_>) -> Result<Managed, Invalid> {
        let manager = ManagerId::updater(manager, self.api_version, self.subresource);
        // A name that no entry can have: what this operation changed is told from what the manager has already.
        let current = ManagerId { manager: "\0current-operation".to_owned(), ..manager.clone() };
        let Managed { fields, mut times } = managed;
        let mut fields = updater::update(fields, self.api_version, &current, self.versions, compare)?;
        if let Some(own) = fields.remove(&current) {
            let set = own.set.difference(&STRIPPED);
            if !set.is_empty() {
                let set = match fields.get(&manager) {
                    Some(before) => set.union(&before.set),
                    None => set,
                };
                fields.insert(manager.clone(), VersionedSet { set, ..own });
                times.insert(manager, self.now.to_owned());
            }
        }
        Ok(capped(Managed { fields, times }))
    }

    /// Lays `config` over `live`, which is an object without fields when it is created.
    pub fn apply(
        &self,
        live: &TypedValue<'_>,
        config: &Node<'_>,
        managed: &Managed,
        force: bool,
    ) -> Result<Applied, ApplyError> {
        let typed = self.checked(live.kind, config)?;
        let managed = match managed.is_empty() {
            true => self.before_first(live)?,
            false => managed.clone(),
        };
        let manager = ManagerId::applier(self.manager(), self.subresource);
        let versions = self.versions;
        let merge = |force: bool| {
            updater::apply(live, &typed, self.api_version, managed.fields.clone(), &manager, force, versions)
        };
        let merged = match merge(force) {
            Err(Failure::Conflicts(conflicts)) if self.manager == "kubectl" => {
                // What client-side apply set, kubectl may take over without a question.
                match self.allowed_by_annotation(live) {
                    None => Err(Failure::Conflicts(conflicts)),
                    Some(allowed) if !conflicts.to_set().difference(&allowed).is_empty() => {
                        Err(Failure::Conflicts(conflicts.without(&allowed)))
                    }
                    Some(_) => merge(true),
                }
            }
            other => other,
        };
        let merged = merged.map_err(|failure| match failure {
            Failure::Conflicts(conflicts) => ApplyError::Conflicts(conflicts),
            Failure::Invalid(message) => ApplyError::Failed(message),
        })?;
        let mut managed = Managed { fields: merged.fields, times: managed.times.clone() };
        if let Some(own) = managed.fields.get_mut(&manager) {
            own.set = own.set.difference(&STRIPPED);
            if own.set.is_empty() {
                managed.fields.remove(&manager);
            }
        }
        let mut object = merged.object.map(|object| object.node.into_owned());
        if object.is_some() {
            managed.times.insert(manager, self.now.to_owned());
        }
        if self.manager == "kubectl" {
            keep_in_step(&mut object, &live.node, config);
        }
        Ok(Applied { object, managed })
    }

    /// The configuration as an object of the kind.
    fn checked<'a>(&self, kind: TypeRef<'a>, config: &Node<'a>) -> Result<TypedValue<'a>, ApplyError> {
        let managed_fields = config.get("metadata").and_then(|metadata| metadata.get("managedFields"));
        if matches!(managed_fields, Some(Node::Array(_))) {
            return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
        }
        let typed = TypedValue::literal(kind, config.clone());
        typed.validate(false).map_err(|error| {
            ApplyError::Failed(format!("failed to create typed patch object ({}): {error}", described(config)))
        })?;
        Ok(typed)
    }

    /// Everything that an object without entries has, as the entry of one that came before.
    fn before_first(&self, live: &TypedValue<'_>) -> Result<Managed, ApplyError> {
        let nothing = Node::Object(Object(
            ["apiVersion", "kind"]
                .into_iter()
                .filter_map(|name| Some((name.into(), live.node.get(name)?.clone())))
                .collect(),
        ));
        let empty = TypedValue { node: nothing, ..live.clone() };
        let mut compare = |version: &str| match version == self.api_version {
            true => empty.compare(live).map(Some),
            false => Ok(None),
        };
        self.tracked(Managed::default(), BEFORE_FIRST_APPLY, &mut compare)
            .map_err(|error| ApplyError::Failed(format!("failed to create manager for existing fields: {error}")))
    }

    /// What the annotation of client-side apply says and the live object still has.
    fn allowed_by_annotation(&self, live: &TypedValue<'_>) -> Option<Set> {
        let text = annotation(&live.node)?.to_owned();
        let last = schema::json::parse(text.as_bytes(), &schema::Limits::default()).ok()?;
        if last.get("apiVersion").and_then(Node::as_str) != Some(self.api_version) {
            return None;
        }
        let last = TypedValue::literal(live.kind, last.into_owned());
        last.validate(false).ok()?;
        live.validate(false).ok()?;
        let set = last.field_set().ok()?;
        let comparison = last.compare(live).ok()?;
        Some(set.difference(&comparison.modified).difference(&comparison.added).difference(&comparison.removed))
    }
}

/// `default/web; apps/v1, Kind=Deployment`.
fn described(object: &Node<'_>) -> String {
    let metadata = |name: &str| object.get("metadata").and_then(|metadata| metadata.get(name)).and_then(Node::as_str);
    let text = |name: &str| object.get(name).and_then(Node::as_str).unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    format!(
        "{}/{}; {group}/{version}, Kind={}",
        metadata("namespace").unwrap_or_default(),
        metadata("name").unwrap_or_default(),
        text("kind")
    )
    .replace("; /", if group.is_empty() { "; /" } else { "; " })
}

/// The oldest updates in one entry for each version, when there are too many.
fn capped(mut managed: Managed) -> Managed {
    let mut updaters: Vec<ManagerId> =
        managed.fields.iter().filter(|(_, versioned)| !versioned.applied).map(|(id, _)| id.clone()).collect();
    if updaters.len() <= MAX_UPDATERS {
        return managed;
    }
    let time = |id: &ManagerId| managed.times.get(id).cloned().unwrap_or_default();
    updaters.sort_by(|left, right| time(left).cmp(&time(right)).then_with(|| left.cmp(right)));
    let mut count = updaters.len();
    let mut first_of: BTreeMap<String, ManagerId> = BTreeMap::new();
    for id in updaters {
        if count <= MAX_UPDATERS {
            break;
        }
        let Some(version) = managed.fields.get(&id).map(|versioned| versioned.api_version.clone()) else { continue };
        let Some(first) = first_of.get(&version) else {
            first_of.insert(version, id);
            continue;
        };
        let bucket = ManagerId::updater(ANCIENT_CHANGES, &version, "");
        if !managed.fields.contains_key(&bucket)
            && let Some(set) = managed.fields.remove(first)
        {
            managed.fields.insert(bucket.clone(), set);
        }
        if let Some(versioned) = managed.fields.remove(&id)
            && let Some(merged) = managed.fields.get_mut(&bucket)
        {
            merged.set = versioned.set.union(&merged.set);
        }
        count -= 1;
        // The time of the youngest that is in it.
        match managed.times.get(&id).cloned() {
            Some(time) => managed.times.insert(bucket, time),
            None => managed.times.remove(&bucket),
        };
    }
    managed
}

// === the annotation of client-side apply ===

fn annotation<'n>(object: &'n Node<'_>) -> Option<&'n str> {
    let annotations = object.get("metadata")?.get("annotations")?;
    annotations.get(LAST_APPLIED)?.as_str().filter(|text| !text.is_empty())
}

/// Puts what was applied into the annotation, where the object has it.
fn keep_in_step(object: &mut Option<Node<'static>>, live: &Node<'_>, config: &Node<'_>) {
    if annotation(object.as_ref().unwrap_or(live)).is_none() {
        return;
    }
    let text = last_applied(config);
    // Only a difference is worth an object of its own.
    if object.is_none() && annotation(live) == Some(text.as_str()) {
        return;
    }
    let object = object.get_or_insert_with(|| live.clone().into_owned());
    let Node::Object(object) = object else { return };
    let Some(Node::Object(metadata)) = object.get_mut("metadata") else { return };
    let Some(Node::Object(annotations)) = metadata.get_mut("annotations") else { return };
    let others = annotations.0.iter().filter(|(name, _)| name != LAST_APPLIED);
    let size: usize = others.map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if size + LAST_APPLIED.len() + text.len() > ANNOTATIONS_LIMIT {
        annotations.0.retain(|(name, _)| name != LAST_APPLIED);
    } else if let Some(value) = annotations.get_mut(LAST_APPLIED) {
        *value = Node::String(text.into());
    }
}

/// The configuration as the annotation has it: without the annotation, members sorted, with a new line at the end.
fn last_applied(config: &Node<'_>) -> String {
    let mut config = config.clone().into_value();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(serde_json::Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let mut out = Node::from_value(&config).to_json();
    out.push(b'\n');
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        set::Filter,
        testing::{json, text},
    };

    struct Deployments(Filter);

    impl Versions for Deployments {
        fn kind_in(&self, version: &str) -> Option<TypeRef<'_>> {
            schema::builtin().kind_of(version, "Deployment").map(TypeRef::Named)
        }

        fn literal(&self) -> bool {
            false
        }

        fn convert(&self, _object: &Node<'_>, _from: &str, to: &str) -> Result<Node<'static>, String> {
            Err(to.to_owned())
        }

        fn filter_in(&self, _version: &str) -> &Filter {
            &self.0
        }
    }

    fn deployment(metadata: &str, replicas: i32, image: &str) -> String {
        format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"{metadata}}},"spec":{{"replicas":{replicas},"template":{{"spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}}}}}"#
        )
    }

    fn operation<'a>(manager: &'a str, now: &'a str, versions: &'a Deployments) -> Operation<'a> {
        Operation { manager, subresource: "", api_version: "apps/v1", now, versions }
    }

    fn live(versions: &Deployments, object: &str) -> TypedValue<'static> {
        let kind = schema::builtin().kind_of("apps/v1", "Deployment").map(TypeRef::Named).unwrap();
        assert!(versions.kind_in("apps/v1").is_some());
        TypedValue::of_struct(kind, json(object))
    }

    /// The entries after an update by somebody.
    fn updated(operation: &Operation<'_>, managed: Managed, old: &str, new: &str) -> Managed {
        let versions = Deployments(Filter::Everything);
        let created = managed.is_empty();
        let (old, new) = (live(&versions, old), live(&versions, new));
        operation.update(managed, created, &mut |_| old.compare(&new).map(Some)).unwrap()
    }

    #[test]
    fn time_stamps_are_of_the_last_change() {
        let versions = Deployments(Filter::Everything);
        let (first, second) = (deployment("", 1, "i"), deployment("", 2, "i"));
        let managed = updated(&operation("m", "t1", &versions), Managed::default(), "{}", &first);
        let same = updated(&operation("m", "t2", &versions), managed.clone(), &first, &first);
        assert_eq!(same, managed);
        let changed = updated(&operation("m", "t3", &versions), managed.clone(), &first, &second);
        assert!(changed.same_but_times(&managed));
        assert_eq!(changed.times.values().collect::<Vec<_>>(), ["t3"]);
        // Nobody is "unknown".
        let nameless = updated(&operation("", "t", &versions), Managed::default(), "{}", &first);
        assert_eq!(nameless.fields.keys().next().unwrap().manager, "unknown");
    }

    #[test]
    fn kubectl_takes_over_what_the_client_side_applied() {
        let versions = Deployments(Filter::Everything);
        let last = deployment("", 1, "old").replace('"', "\\\"");
        let annotation = format!(r#","annotations":{{"{LAST_APPLIED}":"{last}"}}"#);
        let object = deployment(&annotation, 1, "old");
        let managed =
            updated(&operation("kubectl-client-side-apply", "t1", &versions), Managed::default(), "{}", &object);
        let config = json(&deployment("", 2, "new"));
        let live = live(&versions, &object);
        let refused = operation("other", "t2", &versions).apply(&live, &config, &managed, false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image"
        );
        let ApplyError::Conflicts(conflicts) = refused else { panic!("{refused}") };
        let error = conflicts.to_error();
        assert_eq!((error.code, error.reason.as_str()), (409, "Conflict"));
        let cause = &error.details.as_ref().unwrap().causes[0];
        assert_eq!(
            (cause.reason.as_str(), cause.message.as_str(), cause.field.as_str()),
            ("FieldManagerConflict", "conflict with \"kubectl-client-side-apply\" using apps/v1", ".spec.replicas")
        );
        // The annotation says that it is kubectl's own.
        let applied = operation("kubectl", "t2", &versions).apply(&live, &config, &managed, false).unwrap();
        let object = applied.object.unwrap();
        assert_eq!(object.get("spec").unwrap().get("replicas"), Some(&Node::Number("2".into())));
        let kept = annotation_of(&object);
        assert_eq!(kept, format!("{}\n", text(&Node::from_value(&config.clone().into_value()))));
        // Somebody else has changed it meanwhile: that stays a conflict.
        let scaled = deployment(&annotation, 7, "old");
        let managed = updated(&operation("hpa", "t2", &versions), managed, &text(&live.node), &scaled);
        let live = self::live(&versions, &scaled);
        let refused = operation("kubectl", "t3", &versions).apply(&live, &config, &managed, false).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Apply failed with 1 conflict: conflict with \"hpa\" using apps/v1: .spec.replicas"
        );
    }

    fn annotation_of(object: &Node<'_>) -> String {
        annotation(object).unwrap().to_owned()
    }

    #[test]
    fn an_object_from_before_has_an_owner_from_then_on() {
        let versions = Deployments(Filter::Everything);
        let live = live(&versions, &deployment("", 1, "i"));
        let config =
            json(r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"a":"b"}}}"#);
        let applied = operation("m", "t", &versions).apply(&live, &config, &Managed::default(), false).unwrap();
        let names: Vec<&str> = applied.managed.fields.keys().map(|id| id.manager.as_str()).collect();
        assert_eq!(names, ["before-first-apply", "m"]);
        let entry = String::from_utf8(applied.managed.to_json()).unwrap();
        assert!(entry.starts_with(
            r#"[{"manager":"m","operation":"Apply","apiVersion":"apps/v1","time":"t","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:a":{}}}}},{"manager":"before-first-apply","operation":"Update""#
        ), "{entry}");
    }
}
