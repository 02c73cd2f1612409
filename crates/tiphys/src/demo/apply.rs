//! Applying a folder of manifests, for the demo: what is not there is created, what is there is patched.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use apimachinery::Gvk;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    discovery::{ApiResource, Scope, pinned_kind},
};

/// Applies every `.yaml` of the folder, in the order of their names; a line for each object, as kubectl prints it.
pub(super) async fn folder(client: &Client, folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    let mut lines = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let documents: Vec<DynamicObject> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("parse {}", path.display()))?;
        for object in documents {
            lines.push(one(client, object).await.with_context(|| format!("apply {}", path.display()))?);
        }
    }
    Ok(lines)
}

async fn one(client: &Client, object: DynamicObject) -> anyhow::Result<String> {
    let types = object.types.clone().context("the manifest has no kind")?;
    let Gvk { group, version, kind } = Gvk::from_api_version(&types.api_version, &types.kind);
    let (resource, capabilities) = pinned_kind(client, &kube::core::GroupVersionKind { group, version, kind })
        .await
        .with_context(|| format!("the cluster does not serve {} {}", types.api_version, types.kind))?;
    let objects: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::default_namespaced_with(client.clone(), &resource),
        },
    };
    let name = object.metadata.name.clone().context("the manifest has no name")?;
    let verb = match objects.create(&PostParams::default(), &object).await {
        Ok(_) => "created",
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            objects.patch(&name, &PatchParams::default(), &Patch::Merge(&object)).await?;
            "configured"
        }
        Err(error) => bail!(error),
    };
    Ok(format!("{}/{name} {verb}", qualified(&resource)))
}

fn qualified(resource: &ApiResource) -> String {
    let kind = resource.kind.to_lowercase();
    if resource.group.is_empty() { kind } else { format!("{kind}.{}", resource.group) }
}
