//! Validation of environment variables and their sources.

use apimachinery::field::{ErrorList, Path};
use apimachinery::names;
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, FileKeySelector};

use super::containers::Cx;
use super::downward_api;
use crate::check::{self, Report};
use crate::core::volume;
use crate::optional::Text;

pub(super) fn vars(vars: &[EnvVar], cx: &Cx<'_>, path: &Path, errors: &mut ErrorList) {
    for (index, var) in vars.iter().enumerate() {
        let path = path.index(index);
        if var.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            check::all_invalid(names::is_relaxed_env_var_name(&var.name), &var.name, &path.child("name"), errors);
        }
        value_from(var, cx, &path.child("valueFrom"), errors);
    }
}

fn value_from(var: &EnvVar, cx: &Cx<'_>, path: &Path, errors: &mut ErrorList) {
    let Some(source) = &var.value_from else { return };
    let mut count = 0;
    if let Some(field) = &source.field_ref {
        count += 1;
        downward_api::field_ref(field, downward_api::ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        count += 1;
        let place = downward_api::Place::Environment;
        downward_api::resource_field_ref(resource, place, &path.child("resourceFieldRef"), errors);
    }
    if let Some(reference) = &source.config_map_key_ref {
        count += 1;
        key_ref(&reference.name, &reference.key, &path.child("configMapKeyRef"), errors);
    }
    if let Some(reference) = &source.secret_key_ref {
        count += 1;
        key_ref(&reference.name, &reference.key, &path.child("secretKeyRef"), errors);
    }
    if let Some(file) = &source.file_key_ref {
        count += 1;
        file_key_ref(file, cx, &path.child("fileKeyRef"), errors);
    }
    if count == 0 {
        let message =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(path, "", message);
    } else if !var.value.text().is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn key_ref(name: &str, key: &str, path: &Path, errors: &mut ErrorList) {
    check::dns_subdomain(name, &path.child("name"), errors);
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        check::all_invalid(names::is_config_map_key(key), key, &path.child("key"), errors);
    }
}

/// A key in a file of an `emptyDir` volume, written by an init container.
fn file_key_ref(file: &FileKeySelector, cx: &Cx<'_>, path: &Path, errors: &mut ErrorList) {
    if file.key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        check::all_invalid(names::is_relaxed_env_var_name(&file.key), &file.key, &path.child("key"), errors);
    }
    if file.volume_name.is_empty() {
        errors.required(&path.child("volumeName"), "");
    } else {
        match cx.volumes.get(file.volume_name.as_str()) {
            None => errors.not_found(&path.child("volumeName"), &file.volume_name),
            Some(volume) if volume.empty_dir.is_none() => {
                let message = "referenced volume must be of type emptyDir";
                errors.invalid(&path.child("volumeName"), &file.volume_name, message);
            }
            Some(_) => {}
        }
    }
    if file.path.is_empty() {
        errors.required(&path.child("path"), "");
    } else {
        volume::relative_path(&file.path, &path.child("path"), errors);
    }
}

pub(super) fn from(sources: &[EnvFromSource], path: &Path, errors: &mut ErrorList) {
    for (index, source) in sources.iter().enumerate() {
        let own = path.index(index);
        let prefix = source.prefix.text();
        if !prefix.is_empty() {
            check::all_invalid(names::is_relaxed_env_var_name(prefix), prefix, &own.child("prefix"), errors);
        }
        let references = [
            ("configMapRef", source.config_map_ref.as_ref().map(|reference| &reference.name)),
            ("secretRef", source.secret_ref.as_ref().map(|reference| &reference.name)),
        ];
        for (field, name) in references {
            let Some(name) = name else { continue };
            if name.is_empty() {
                errors.required(&own.child(field).child("name"), "");
            } else {
                let messages = names::subdomain_name(name, true);
                check::all_invalid(messages, name, &own.child(field).child("name"), errors);
            }
        }
        match references.iter().filter(|(_, name)| name.is_some()).count() {
            0 => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
}
