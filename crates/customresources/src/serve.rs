//! Follows the definitions: serves what they say, writes their status, and empties those that are deleted.
//!
//! Upstream: the `crdHandler`'s event handlers and the finalizer controller.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use apimachinery::{ApiError, scan};
use registry::{
    AnyObject, DynamicObject, Kind, Registry, RequestCx, UpdateKind, UserInfo, Verb,
    options::{DeleteOptions, WriteOptions},
    pipeline::Change,
};
use resources::apiextensions::custom_resource_definition::{
    CLEANUP_FINALIZER,
    conditions::{self, Condition, ESTABLISHED, NAMES_ACCEPTED, TERMINATING},
    fields::{self, text},
};
use store::{Entry, EventKind, Filter, WatchError};
use supervisor::Supervisor;

use crate::{
    convert::Webhooks,
    definition::Definition,
    kind::{CustomKind, is_served_as_it_is},
    lifecycle::plan,
    names::Taken,
};

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// How long what was refused is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Serves every stored definition, then goes on to follow them until the supervisor ends it.
pub async fn start(registry: &Registry, webhooks: Arc<dyn Webhooks>, supervisor: &Supervisor) -> Result<(), ApiError> {
    let kind = registry
        .preferred_kind(GROUP, PLURAL)
        .ok_or_else(|| ApiError::internal("definitions of custom resources are not registered"))?;
    let table = registry.store().resource(&format!("{PLURAL}.{GROUP}"));
    let mut server = Server {
        registry: registry.clone(),
        kind,
        table: table.clone(),
        webhooks,
        supervisor: supervisor.clone(),
        served: HashMap::new(),
        emptying: HashMap::new(),
        failed: BTreeSet::new(),
    };
    let snapshot = table.snapshot();
    let mut watch = table.watch(snapshot.revision(), Filter::all()).map_err(ApiError::internal)?;
    for name in snapshot.range("", None).map(|entry| entry.key().name().to_owned()).collect::<Vec<_>>() {
        server.sync(&name).await;
    }
    supervisor.spawn("custom resource definitions", async move {
        loop {
            let next = match server.failed.is_empty() {
                true => watch.next().await,
                false => match tokio::time::timeout(TRY_AGAIN, watch.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        for name in std::mem::take(&mut server.failed) {
                            server.sync(&name).await;
                        }
                        continue;
                    }
                },
            };
            match next {
                Ok(event) => {
                    let name = event.key().name().to_owned();
                    if event.kind() == EventKind::Deleted {
                        server.gone(&name);
                        server.sync_others(&name).await;
                    } else if server.sync(&name).await {
                        server.sync_others(&name).await;
                    }
                }
                Err(WatchError::Closed) => return,
                // It slept through too much: everything is looked at again.
                Err(error) => {
                    tracing::warn!(%error, "watch of definitions is begun again");
                    let snapshot = table.snapshot();
                    match table.watch(snapshot.revision(), Filter::all()) {
                        Ok(again) => watch = again,
                        Err(_) => return,
                    }
                    server.sync_all().await;
                }
            }
        }
    });
    Ok(())
}

struct Server {
    registry: Registry,
    /// Of the definitions themselves.
    kind: Arc<Kind>,
    table: store::Resource,
    webhooks: Arc<dyn Webhooks>,
    supervisor: Supervisor,
    /// By the definition's name.
    served: HashMap<String, Arc<Definition>>,
    /// Definitions whose objects are being deleted, by name; told to go on by whoever changes them.
    emptying: HashMap<String, String>,
    /// Definitions whose status could not be written; tried again after a while.
    failed: BTreeSet<String>,
}

impl Server {
    async fn sync_all(&mut self) {
        let names: BTreeSet<String> =
            self.table.snapshot().range("", None).map(|entry| entry.key().name().to_owned()).collect();
        let gone: Vec<String> = self.served.keys().filter(|name| !names.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| self.gone(name));
        for name in &names {
            self.sync(name).await;
        }
    }

    /// Names may have become free for others of the same group.
    async fn sync_others(&mut self, changed: &str) {
        let group = changed.split_once('.').map_or("", |(_, group)| group);
        let others: Vec<String> = self.of_group(group).map(|entry| entry.key().name().to_owned()).collect();
        for name in others.iter().filter(|name| *name != changed) {
            let definition = self.registry.reader().get::<DynamicObject>(GROUP, PLURAL, "", name);
            if definition.is_some_and(|definition| !conditions::is_true(&definition, NAMES_ACCEPTED)) {
                self.sync(name).await;
            }
        }
    }

    /// Definitions of a group, found without decoding any: they are many and large.
    fn of_group(&self, group: &str) -> impl Iterator<Item = Arc<Entry>> + use<> {
        let group = group.to_owned();
        self.table
            .snapshot()
            .range("", None)
            .filter(move |entry| scan::text(entry.bytes(), &["spec", "group"]).is_some_and(|own| *own == group))
    }

    /// The names that definitions of a group have.
    fn taken(&self, group: &str) -> Taken {
        let mut taken = Taken::default();
        for entry in self.of_group(group) {
            let names = scan::lookup(entry.bytes(), &["status", "acceptedNames"]);
            if let Some(names) = names.and_then(|names| serde_json::from_slice(names).ok()) {
                taken.add(&names);
            }
        }
        taken
    }

    /// Makes what is served, and the status, be what the definition says. True when its names have changed.
    async fn sync(&mut self, name: &str) -> bool {
        let Some(definition) = self.registry.reader().get::<DynamicObject>(GROUP, PLURAL, "", name) else {
            return false;
        };
        let group = text(fields::spec(&definition), "group");
        let plan = plan(&definition, &|| self.taken(group));
        let mut planned = definition.clone();
        plan.apply(&mut planned, jiff::Timestamp::now());
        if plan.serve {
            self.serve(&planned);
        } else {
            self.gone(name);
        }
        let mut renamed = false;
        if plan.changes(&definition) {
            renamed = fields::status(&definition)["acceptedNames"] != plan.accepted_names;
            // Served before it is said: who waits for the condition can go on at once.
            let now = jiff::Timestamp::now();
            self.write_status(&definition, &|object| plan.apply(object, now)).await;
        } else if definition.metadata.deletion_timestamp.is_some() {
            self.empty(&definition);
        }
        renamed
    }

    fn serve(&mut self, planned: &DynamicObject) {
        let name = planned.metadata.name.clone().unwrap_or_default();
        let deleting = planned.metadata.deletion_timestamp.is_some();
        if let Some(served) = self.served.get(&name).filter(|served| served.is_made_from(planned)) {
            if deleting {
                served.set_terminating();
            }
            return;
        }
        let definition = match Definition::of(planned) {
            Ok(definition) => Arc::new(definition),
            Err(why) => {
                tracing::warn!(definition = %name, %why, "definition cannot be served");
                return;
            }
        };
        let plural = text(&definition.names, "plural");
        if self.registry.kinds().iter().any(|kind| {
            kind.resource.custom().is_none() && kind.gvr.group == definition.group && kind.gvr.resource == plural
        }) {
            tracing::warn!(definition = %name, "definition overlaps with a built-in resource and is not served");
            return;
        }
        let before = self.served.insert(name, Arc::clone(&definition));
        let mut order: Vec<usize> = (0..definition.versions.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(crate::definition::priority(&definition.versions[*index].name)));
        for index in order.into_iter().filter(|index| definition.versions[*index].served) {
            let kind = Arc::new(CustomKind::new(Arc::clone(&definition), index, Arc::clone(&self.webhooks)));
            self.registry.register(Arc::clone(&kind));
            if kind.is_storage() {
                look_at_all(&self.registry, kind);
            }
        }
        let Some(before) = before else { return };
        for version in before.versions.iter().filter(|version| version.served) {
            let old = text(&before.names, "plural");
            let still = old == plural && definition.version(&version.name).is_some_and(|version| version.served);
            if !still {
                self.registry.unregister(&before.group, &version.name, old);
            }
        }
    }

    fn gone(&mut self, name: &str) {
        self.emptying.remove(name);
        let Some(definition) = self.served.remove(name) else { return };
        for version in definition.versions.iter().filter(|version| version.served) {
            self.registry.unregister(&definition.group, &version.name, text(&definition.names, "plural"));
        }
    }

    /// Deletes a definition's objects, in a task of its own: finalizers of theirs may take any time.
    fn empty(&mut self, definition: &DynamicObject) {
        let (Some(name), Some(uid)) = (&definition.metadata.name, &definition.metadata.uid) else { return };
        let finalizers = definition.metadata.finalizers.as_deref().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER) || self.emptying.get(name) == Some(uid) {
            return;
        }
        self.emptying.insert(name.clone(), uid.clone());
        let cleaner = Cleaner {
            registry: self.registry.clone(),
            kind: Arc::clone(&self.kind),
            name: name.clone(),
            served: conditions::is_true(definition, ESTABLISHED)
                .then(|| self.served.get(name).cloned())
                .flatten()
                .map(|definition| (definition, Arc::clone(&self.webhooks))),
        };
        self.supervisor.spawn("custom resource cleanup", cleaner.run());
    }

    async fn write_status(&mut self, definition: &DynamicObject, change: &(dyn Fn(&mut DynamicObject) + Send + Sync)) {
        let name = definition.metadata.name.as_deref().unwrap_or_default();
        let version = definition.metadata.resource_version.clone();
        match write_status(&self.registry, &self.kind, name, version, change).await {
            Ok(()) => {}
            // Whoever changed it meanwhile makes an event, and the next look sees that.
            Err(error) if error.is("Conflict") || error.is("NotFound") => {}
            Err(error) => {
                tracing::warn!(%error, definition = %name, "status of a definition is not written");
                self.failed.insert(name.to_owned());
            }
        }
    }
}

/// Finds out whether every stored object is already what the version serves; then its bytes are served as they are.
fn look_at_all(registry: &Registry, kind: Arc<CustomKind>) {
    let table = registry.store().resource(&registry::Resource::info(&*kind).group_resource());
    let epoch = kind.epoch();
    let snapshot = table.snapshot();
    if snapshot.count("", None) == 0 {
        kind.set_clean(epoch);
        return;
    }
    tokio::task::spawn_blocking(move || {
        if snapshot.range("", None).all(|entry| is_served_as_it_is(&kind, entry.bytes())) {
            kind.set_clean(epoch);
        }
    });
}

async fn write_status(
    registry: &Registry,
    kind: &Kind,
    name: &str,
    version: Option<String>,
    change: &(dyn Fn(&mut DynamicObject) + Send + Sync),
) -> Result<(), ApiError> {
    let mut cx = context(registry, Verb::Update);
    name.clone_into(&mut cx.name);
    "status".clone_into(&mut cx.subresource);
    let mutate = |object: &mut dyn AnyObject| -> Result<(), ApiError> {
        if let Some(definition) = object.downcast_mut::<DynamicObject>() {
            change(definition);
            if version.is_some() {
                definition.metadata.resource_version.clone_from(&version);
            }
        }
        Ok(())
    };
    registry.modify(kind, &cx, UpdateKind::Status, Change::Mutate(&mutate), &WriteOptions::default()).await.map(|_| ())
}

fn context(registry: &Registry, verb: Verb) -> RequestCx {
    registry.context(Arc::new(UserInfo::loopback()), verb)
}

/// Empties one definition that is being deleted.
struct Cleaner {
    registry: Registry,
    kind: Arc<Kind>,
    name: String,
    /// None: it was never established, and has no objects.
    served: Option<(Arc<Definition>, Arc<dyn Webhooks>)>,
}

impl Cleaner {
    async fn run(self) {
        let told = match &self.served {
            None => Condition::new(TERMINATING, "False", "NeverEstablished", "resource was never established"),
            Some((definition, webhooks)) => {
                definition.set_terminating();
                self.say(Condition::new(
                    TERMINATING,
                    "True",
                    "InstanceDeletionInProgress",
                    "CustomResource deletion is in progress",
                ))
                .await;
                if !self.delete_all(definition, webhooks).await {
                    return;
                }
                Condition::new(TERMINATING, "False", "InstanceDeletionCompleted", "removed all instances")
            }
        };
        let now = jiff::Timestamp::now();
        let change = |object: &mut DynamicObject| {
            conditions::set(object, &told, now);
            if let Some(finalizers) = &mut object.metadata.finalizers {
                finalizers.retain(|finalizer| finalizer != CLEANUP_FINALIZER);
            }
        };
        match write_status(&self.registry, &self.kind, &self.name, None, &change).await {
            Ok(()) => tracing::info!(definition = %self.name, "custom resources are removed"),
            Err(error) if error.is("NotFound") => {}
            Err(error) => tracing::warn!(%error, definition = %self.name, "definition is not released"),
        }
    }

    async fn say(&self, condition: Condition) {
        let now = jiff::Timestamp::now();
        let change = |object: &mut DynamicObject| conditions::set(object, &condition, now);
        if let Err(error) = write_status(&self.registry, &self.kind, &self.name, None, &change).await {
            tracing::debug!(%error, definition = %self.name, "status of a definition is not written");
        }
    }

    /// Deletes what is there, and waits for what is held. False when the server ends meanwhile.
    async fn delete_all(&self, definition: &Arc<Definition>, webhooks: &Arc<dyn Webhooks>) -> bool {
        let Some(index) = definition.versions.iter().position(|version| version.name == definition.storage) else {
            return true;
        };
        let resource = Arc::new(CustomKind::new(Arc::clone(definition), index, Arc::clone(webhooks)));
        let kind = self.registry.detached(resource);
        let table = self.registry.store().resource(&kind.info().group_resource());
        let mut told = false;
        loop {
            let snapshot = table.snapshot();
            let Ok(mut watch) = table.watch(snapshot.revision(), Filter::all()) else { return false };
            let mut left = 0_usize;
            let mut refused = None;
            for entry in snapshot.range("", None) {
                left += 1;
                let mut cx = context(&self.registry, Verb::DeleteCollection);
                entry.key().namespace().clone_into(&mut cx.namespace);
                entry.key().name().clone_into(&mut cx.name);
                // What is marked already only waits for its finalizers.
                let marked = scan::lookup(entry.bytes(), &["metadata", "deletionTimestamp"]).is_some();
                if marked {
                    continue;
                }
                match self.registry.delete(&kind, &cx, &DeleteOptions::default()).await {
                    Err(error) if !error.is("NotFound") => refused = Some(error),
                    _ => {}
                }
            }
            if left == 0 {
                return true;
            }
            if let Some(error) = &refused {
                let message = format!("could not issue all deletes: {error}");
                self.say(Condition::new(TERMINATING, "True", "InstanceDeletionFailed", message)).await;
            } else if !told && table.snapshot().count("", None) > 0 {
                told = true;
                let message = "could not confirm zero CustomResources remaining: timed out waiting for the condition";
                self.say(Condition::new(TERMINATING, "True", "InstanceDeletionCheck", message)).await;
            }
            // What was refused is tried again after a while, also when nothing happens.
            let next = watch.next();
            let next = match refused {
                Some(_) => match tokio::time::timeout(TRY_AGAIN, next).await {
                    Ok(next) => next,
                    Err(_) => continue,
                },
                None => next.await,
            };
            if let Err(WatchError::Closed) = next {
                return false;
            }
        }
    }
}
