//! Which objects belong to an owner: those it controls and still selects, those it must let go, and orphans it
//! adopts. Upstream: `pkg/controller` `ControllerRefManager`.

use std::{fmt::Debug, sync::Arc};

use api::{
    ObjectMeta,
    owner::{controller_of, controller_reference},
};
use apimachinery::Selector;
use informer::{Cache, Index, Object, uid_of};
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::Serialize;
use serde_json::json;

/// Candidates sorted by what is to become of them.
#[derive(Debug)]
pub(crate) struct Claims<K> {
    /// Controlled by the owner and selected by it.
    pub(crate) owned: Vec<Arc<K>>,
    /// Selected and without a controller.
    pub(crate) adopt: Vec<Arc<K>>,
    /// Controlled by the owner, which selects them no longer.
    pub(crate) release: Vec<Arc<K>>,
}

/// The objects without a controller, by namespace.
pub(crate) fn orphans<K: Object>(cache: &Cache<K>) -> Index<K> {
    cache.index("orphan", |object| {
        let meta = object.meta();
        if controller_of(meta).is_some() { Vec::new() } else { meta.namespace.iter().cloned().collect() }
    })
}

/// Sorts candidates: objects with any of the owner's UID, and orphans of its namespace.
pub(crate) fn claim<K: Object>(
    owner: &ObjectMeta,
    selector: &Selector,
    candidates: impl IntoIterator<Item = Arc<K>>,
) -> Claims<K> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    let uid = owner.uid.as_deref().unwrap_or_default();
    let deleting = owner.deletion_timestamp.is_some();
    for object in candidates {
        let meta = object.meta();
        let selected = selector.matches(meta.labels.as_ref().unwrap_or(&Default::default()));
        match controller_of(meta) {
            Some(reference) if reference.uid != uid => {}
            Some(_) if selected => claims.owned.push(object),
            Some(_) if deleting => {}
            Some(_) => claims.release.push(object),
            None if deleting || !selected || meta.deletion_timestamp.is_some() => {}
            None if meta.namespace != owner.namespace => {}
            None => claims.adopt.push(object),
        }
    }
    claims
}

impl<K> Claims<K>
where
    K: Object
        + Debug
        + Resource<Scope = NamespaceResourceScope>
        + kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    /// Carries out adoptions and releases. Whether there were any: then the cache does not show the outcome yet, and
    /// the event of each patch brings the owner back to its queue.
    pub(crate) async fn settle<O>(&self, client: &Client, owner: &O) -> Result<bool, kube::Error>
    where
        O: Object
            + Clone
            + Debug
            + Resource
            + Metadata<Ty = ObjectMeta>
            + kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        if self.adopt.is_empty() && self.release.is_empty() {
            return Ok(false);
        }
        let namespace = Object::meta(owner).namespace.clone().unwrap_or_default();
        if !self.adopt.is_empty() && !may_adopt(client, &namespace, owner).await? {
            return Ok(true);
        }
        let api = Api::<K>::namespaced(client.clone(), &namespace);
        let reference = controller_reference(owner);
        for object in &self.adopt {
            patch_owners(&api, &**object, json!([reference])).await?;
        }
        for object in &self.release {
            patch_owners(&api, &**object, json!([{"$patch": "delete", "uid": uid_of(owner)}])).await?;
        }
        Ok(true)
    }
}

/// Asks the server itself whether the owner is still the one in the cache, because adopting for one that is gone
/// would have the garbage collector delete what was adopted. Upstream: `RecheckDeletionTimestamp`.
async fn may_adopt<O>(client: &Client, namespace: &str, owner: &O) -> Result<bool, kube::Error>
where
    O: Object + Clone + Debug + kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    let api = Api::<O>::namespaced(client.clone(), namespace);
    let fresh = api.get_opt(Object::meta(owner).name.as_deref().unwrap_or_default()).await?;
    Ok(fresh.is_some_and(|fresh| uid_of(&fresh) == uid_of(owner) && Object::meta(&fresh).deletion_timestamp.is_none()))
}

async fn patch_owners<K>(api: &Api<K>, object: &K, owners: impl Serialize + Debug) -> Result<(), kube::Error>
where
    K: Object + Clone + Debug,
{
    let meta = object.meta();
    let patch = json!({"metadata": {"ownerReferences": owners, "uid": meta.uid}});
    let name = meta.name.as_deref().unwrap_or_default();
    match api.patch_metadata(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Ok(_) => Ok(()),
        // Gone, or replaced by another of its name: nothing to adopt or to let go.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_invalid() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{OwnerReference, core::v1::Pod};
    use expect_test::{Expect, expect};

    /// `name label owner [deleting]`, one pod a line; the owner `me` selects `app=a`.
    fn check(owner_deleting: bool, pods: &str, expected: Expect) {
        let stamp = api::Time(jiff::Timestamp::UNIX_EPOCH);
        let owner = ObjectMeta {
            namespace: Some("n".into()),
            uid: Some("me".into()),
            deletion_timestamp: owner_deleting.then(|| stamp.clone()),
            ..ObjectMeta::default()
        };
        let candidates = pods.lines().map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let reference =
                OwnerReference { uid: words[2].into(), controller: Some(true), ..OwnerReference::default() };
            let metadata = ObjectMeta {
                namespace: Some("n".into()),
                name: Some(words[0].into()),
                labels: Some([("app".to_owned(), words[1].to_owned())].into()),
                owner_references: (words[2] != "-").then(|| vec![reference]),
                deletion_timestamp: words.get(3).map(|_| stamp.clone()),
                ..ObjectMeta::default()
            };
            Arc::new(Pod { metadata, ..Pod::default() })
        });
        let claims = claim(&owner, &Selector::from_set(&[("app".to_owned(), "a".to_owned())].into()), candidates);
        let names = |pods: &[Arc<Pod>]| {
            pods.iter().map(|pod| pod.metadata.name.clone().unwrap_or_default()).collect::<Vec<_>>().join(" ")
        };
        let text = format!(
            "owned {}; adopt {}; release {}",
            names(&claims.owned),
            names(&claims.adopt),
            names(&claims.release)
        );
        expected.assert_eq(&text);
    }

    const PODS: &str = "mine a me\nstray b me\nother a you\norphan a -\nnone b -\ngoing a - deleting";

    #[test]
    fn candidates_are_sorted() {
        check(false, PODS, expect!["owned mine; adopt orphan; release stray"]);
    }

    #[test]
    fn an_owner_being_deleted_takes_and_gives_nothing() {
        check(true, PODS, expect!["owned mine; adopt ; release "]);
    }
}
