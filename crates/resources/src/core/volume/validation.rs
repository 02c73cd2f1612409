//! Validation of a pod's volume list and of the sources the node itself provides.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, GitRepoVolumeSource, HostPathVolumeSource, ImageVolumeSource,
    KeyToPath, NFSVolumeSource, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{plugins, projected, sources};
use crate::check::{self, Report};
use crate::core::pod::validation::{PodOptions, downward_api, pull_policy};
use crate::meta::quantity;
use crate::optional::{Items, Text};

const MORE_THAN_ONE: &str = "may not specify more than 1 volume type";
const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Validates the list and returns the volumes that mounts may name: the valid ones.
pub(crate) fn validate<'a>(
    volumes: &'a [Volume],
    pod: Option<&ObjectMeta>,
    path: &Path,
    options: &PodOptions,
    errors: &mut ErrorList,
) -> BTreeMap<&'a str, &'a Volume> {
    let pod_name = pod.map_or("", |meta| meta.name.text());
    let created_claims: BTreeSet<String> = volumes
        .iter()
        .filter(|volume| !pod_name.is_empty() && volume.ephemeral.is_some())
        .map(|volume| format!("{pod_name}-{}", volume.name))
        .collect();
    let mut valid = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let name_path = path.child("name");
        let mut own = ErrorList::default();
        source(volume, &path, pod_name, options, &mut own);
        if volume.name.is_empty() {
            own.required(&name_path, "");
        } else {
            check::dns_label(&volume.name, &name_path, &mut own);
        }
        if valid.contains_key(volume.name.as_str()) {
            own.duplicate(&name_path, &volume.name);
        }
        if own.is_empty() {
            valid.insert(volume.name.as_str(), volume);
        } else {
            errors.extend(own);
        }
        if let Some(claim) = &volume.persistent_volume_claim
            && created_claims.contains(&claim.claim_name)
        {
            errors.invalid(
                &path.child("persistentVolumeClaim").child("claimName"),
                &claim.claim_name,
                "must not reference a PVC that gets created for an ephemeral volume",
            );
        }
    }
    valid
}

/// Exactly one source, and that one valid. Further sources are only reported as superfluous.
fn source(volume: &Volume, path: &Path, pod_name: &str, options: &PodOptions, errors: &mut ErrorList) {
    let mut set = sources(volume);
    let Some((first, _)) = set.next() else {
        errors.required(path, "must specify a volume type");
        return;
    };
    let own = path.child(first);
    match first {
        "emptyDir" => empty_dir(volume, &own, errors),
        "hostPath" => volume.host_path.iter().for_each(|s| host_path(s, &own, errors)),
        "gitRepo" => volume.git_repo.iter().for_each(|s| git_repo(s, &own, errors)),
        "nfs" => volume.nfs.iter().for_each(|s| nfs(s, &own, errors)),
        "secret" => volume.secret.iter().for_each(|s| {
            if s.secret_name.text().is_empty() {
                errors.required(&own.child("secretName"), "");
            }
            mode(s.default_mode, &own.child("defaultMode"), errors);
            keys(s.items.items(), &own.child("items"), errors);
        }),
        "configMap" => volume.config_map.iter().for_each(|s| {
            if s.name.is_empty() {
                errors.required(&own.child("name"), "");
            }
            mode(s.default_mode, &own.child("defaultMode"), errors);
            keys(s.items.items(), &own.child("items"), errors);
        }),
        "persistentVolumeClaim" => volume.persistent_volume_claim.iter().for_each(|s| {
            if s.claim_name.is_empty() {
                errors.required(&own.child("claimName"), "");
            }
        }),
        "downwardAPI" => volume.downward_api.iter().for_each(|s| downward_api_volume(s, &own, errors)),
        "projected" => volume.projected.iter().for_each(|s| projected::validate(s, &own, options, errors)),
        "image" => volume.image.iter().for_each(|s| image(s, &own, options, errors)),
        "ephemeral" => ephemeral(volume, &own, path, pod_name, errors),
        _ => plugins::validate(volume, first, path, errors),
    }
    // The name a source has in this message is upstream's, slips of the pen included.
    for (_, spelling) in set {
        errors.forbidden(&path.child(spelling), MORE_THAN_ONE);
    }
    plugins::iscsi_name_length(volume, path, errors);
}

fn empty_dir(volume: &Volume, path: &Path, errors: &mut ErrorList) {
    let limit = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref());
    if limit.is_some_and(quantity::is_negative) {
        errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

pub(crate) fn host_path(source: &HostPathVolumeSource, path: &Path, errors: &mut ErrorList) {
    if source.path.is_empty() {
        errors.required(&path.child("path"), "");
        return;
    }
    no_backsteps(&source.path, &path.child("path"), errors);
    if let Some(kind) = &source.type_
        && !HOST_PATH_TYPES.contains(&kind.as_str())
    {
        errors.not_supported(&path.child("type"), kind, HOST_PATH_TYPES);
    }
}

fn git_repo(source: &GitRepoVolumeSource, path: &Path, errors: &mut ErrorList) {
    if source.repository.is_empty() {
        errors.required(&path.child("repository"), "");
    }
    relative_path(source.directory.text(), &path.child("directory"), errors);
}

pub(crate) fn nfs(source: &NFSVolumeSource, path: &Path, errors: &mut ErrorList) {
    if source.server.is_empty() {
        errors.required(&path.child("server"), "");
    }
    if source.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    if !source.path.starts_with('/') {
        errors.invalid(&path.child("path"), &source.path, "must be an absolute path");
    }
}

fn image(source: &ImageVolumeSource, path: &Path, options: &PodOptions, errors: &mut ErrorList) {
    if options.is_pod && source.reference.text().is_empty() {
        errors.required(&path.child("reference"), "");
    }
    pull_policy(source.pull_policy.text(), &path.child("pullPolicy"), errors);
}

fn ephemeral(volume: &Volume, path: &Path, volume_path: &Path, pod_name: &str, errors: &mut ErrorList) {
    match volume.ephemeral.as_ref().and_then(|source| source.volume_claim_template.as_ref()) {
        None => errors.required(&path.child("volumeClaimTemplate"), ""),
        Some(template) => {
            crate::core::persistent_volume_claim::validate_template(
                template,
                &path.child("volumeClaimTemplate"),
                errors,
            );
        }
    }
    if !pod_name.is_empty() && !volume.name.is_empty() {
        let claim = format!("{pod_name}-{}", volume.name);
        for message in check::is_dns_subdomain(&claim) {
            errors.invalid(&volume_path.child("name"), &volume.name, format!("PVC name {claim:?}: {message}"));
        }
    }
}

fn downward_api_volume(source: &DownwardAPIVolumeSource, path: &Path, errors: &mut ErrorList) {
    mode(source.default_mode, &path.child("defaultMode"), errors);
    for file in source.items.items() {
        downward_api_file(file, path, errors);
    }
}

pub(super) fn downward_api_file(file: &DownwardAPIVolumeFile, path: &Path, errors: &mut ErrorList) {
    if file.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    non_reserved_path(&file.path, &path.child("path"), errors);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            downward_api::field_ref(field, downward_api::VOLUME_FIELDS, &path.child("fieldRef"), errors);
            if resource.is_some() {
                let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(path, "resource", message);
            }
        }
        (None, Some(resource)) => {
            let place = downward_api::Place::Volume;
            downward_api::resource_field_ref(resource, place, &path.child("resourceFieldRef"), errors);
        }
        (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file.mode, &path.child("mode"), errors);
}

pub(super) fn mode(mode: Option<i32>, path: &Path, errors: &mut ErrorList) {
    if let Some(mode) = mode
        && !(0..=0o777).contains(&mode)
    {
        errors.invalid(path, mode, FILE_MODE);
    }
}

fn keys(items: &[KeyToPath], path: &Path, errors: &mut ErrorList) {
    for (index, item) in items.iter().enumerate() {
        key_to_path(item, &path.index(index), errors);
    }
}

pub(super) fn key_to_path(item: &KeyToPath, path: &Path, errors: &mut ErrorList) {
    if item.key.is_empty() {
        errors.required(&path.child("key"), "");
    }
    if item.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    non_reserved_path(&item.path, &path.child("path"), errors);
    mode(item.mode, &path.child("mode"), errors);
}

/// No `..` element anywhere (`validatePathNoBacksteps`).
pub(crate) fn no_backsteps(target: &str, path: &Path, errors: &mut ErrorList) {
    if target.split('/').any(|part| part == "..") {
        errors.invalid(path, target, "must not contain '..'");
    }
}

/// Relative and without `..` elements (`validateLocalDescendingPath`).
pub(crate) fn relative_path(target: &str, path: &Path, errors: &mut ErrorList) {
    if target.starts_with('/') {
        errors.invalid(path, target, "must be a relative path");
    }
    no_backsteps(target, path, errors);
}

/// As [`relative_path`], and not starting with `..`: such names are kept for atomic updates.
pub(super) fn non_reserved_path(target: &str, path: &Path, errors: &mut ErrorList) {
    relative_path(target, path, errors);
    // `../x` was reported as a backstep already.
    if target.starts_with("..") && !target.starts_with("../") {
        errors.invalid(path, target, "must not start with '..'");
    }
}
