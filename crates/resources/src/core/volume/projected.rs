//! Validation of projected volumes.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, KeyToPath, PodCertificateProjection, ProjectedVolumeSource,
    ServiceAccountTokenProjection,
};
use serde_json::json;

use super::validation::{downward_api_file, key_to_path, mode, non_reserved_path};
use crate::check::{self, Report};
use crate::core::pod::validation::PodOptions;
use crate::optional::{Items, Text};

const DUPLICATE: &str = "conflicting duplicate paths";
const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];

pub(super) fn validate(source: &ProjectedVolumeSource, path: &Path, _options: &PodOptions, errors: &mut ErrorList) {
    mode(source.default_mode, &path.child("defaultMode"), errors);
    let mut seen = BTreeSet::new();
    for (index, source) in source.sources.items().iter().enumerate() {
        let source_path = path.child("sources").index(index);
        let mut count = 0;
        if let Some(secret) = &source.secret {
            count += 1;
            keyed(&secret.name, secret.items.items(), &source_path.child("secret"), path, &mut seen, errors);
        }
        if let Some(map) = &source.config_map {
            count += 1;
            keyed(&map.name, map.items.items(), &source_path.child("configMap"), path, &mut seen, errors);
        }
        if let Some(downward_api) = &source.downward_api {
            count += 1;
            for file in downward_api.items.items() {
                downward_api_file(file, &source_path.child("downwardAPI"), errors);
                if !file.path.is_empty() && !seen.insert(file.path.as_str()) {
                    errors.invalid(path, &file.path, DUPLICATE);
                }
            }
        }
        if let Some(token) = &source.service_account_token {
            count += 1;
            service_account_token(token, &source_path.child("serviceAccountToken"), path, errors);
        }
        if let Some(bundle) = &source.cluster_trust_bundle {
            count += 1;
            cluster_trust_bundle(bundle, &source_path.child("clusterTrustBundle"), errors);
            if !seen.insert(bundle.path.as_str()) {
                errors.invalid(path, &bundle.path, DUPLICATE);
            }
        }
        if let Some(certificate) = &source.pod_certificate {
            count += 1;
            pod_certificate(certificate, &source_path.child("podCertificate"), &mut seen, errors);
        }
        if count > 1 {
            errors.forbidden(&source_path, "may not specify more than 1 volume type per source");
        }
    }
}

fn keyed<'a>(
    name: &str,
    items: &'a [KeyToPath],
    path: &Path,
    volume_path: &Path,
    seen: &mut BTreeSet<&'a str>,
    errors: &mut ErrorList,
) {
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    for (index, item) in items.iter().enumerate() {
        key_to_path(item, &path.child("items").index(index), errors);
        if !item.path.is_empty() && !seen.insert(item.path.as_str()) {
            errors.invalid(volume_path, name, DUPLICATE);
        }
    }
}

fn service_account_token(
    token: &ServiceAccountTokenProjection,
    path: &Path,
    volume_path: &Path,
    errors: &mut ErrorList,
) {
    let seconds = token.expiration_seconds.unwrap_or(3600);
    let seconds_path = path.child("expirationSeconds");
    if seconds < 600 {
        errors.invalid(&seconds_path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid(&seconds_path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if token.path.is_empty() {
        errors.required(&volume_path.child("path"), "");
    } else {
        non_reserved_path(&token.path, &volume_path.child("path"), errors);
    }
}

fn cluster_trust_bundle(bundle: &ClusterTrustBundleProjection, path: &Path, errors: &mut ErrorList) {
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => {
            errors.invalid(path, json!(bundle), "only one of name and signerName may be used");
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.required(&path.child("name"), "must be a valid object name");
            }
            // A bundle of a signer is called `signer:domain:name`.
            let own = name.rsplit(':').next().unwrap_or(name);
            for message in check::is_dns_subdomain(own) {
                let message = format!("not a valid clustertrustbundlename: {message}");
                errors.invalid(&path.child("name"), name, message);
            }
            if bundle.label_selector.is_some() {
                let message = "labelSelector must be unset if name is specified";
                errors.invalid(&path.child("labelSelector"), json!(bundle.label_selector), message);
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.required(&path.child("signerName"), "must be a valid signer name");
            }
            signer_name(signer, &path.child("signerName"), errors);
            if let Some(selector) = &bundle.label_selector {
                check::label_selector(selector, &path.child("labelSelector"), errors);
            }
        }
        (None, None) => errors.required(path, "either name or signerName must be specified"),
    }
    if bundle.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    non_reserved_path(&bundle.path, &path.child("path"), errors);
}

fn pod_certificate<'a>(
    certificate: &'a PodCertificateProjection,
    path: &Path,
    seen: &mut BTreeSet<&'a str>,
    errors: &mut ErrorList,
) {
    signer_name(&certificate.signer_name, &path.child("signerName"), errors);
    if !KEY_TYPES.contains(&certificate.key_type.as_str()) {
        errors.not_supported(&path.child("keyType"), &certificate.key_type, KEY_TYPES);
    }
    if let Some(seconds) = certificate.max_expiration_seconds {
        let seconds_path = path.child("maxExpirationSeconds");
        if seconds < 3600 {
            errors.invalid(&seconds_path, seconds, "if provided, maxExpirationSeconds must be >= 3600");
        }
        if seconds > 91 * 86_400 {
            errors.invalid(&seconds_path, seconds, "if provided, maxExpirationSeconds must be <= 7862400");
        }
    }
    let files = [
        ("credentialBundlePath", &certificate.credential_bundle_path),
        ("keyPath", &certificate.key_path),
        ("certificateChainPath", &certificate.certificate_chain_path),
    ];
    if files.iter().all(|(_, file)| file.text().is_empty()) {
        let message = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.required(path, message);
    }
    for (field, file) in files {
        let Some(file) = file.as_deref().filter(|file| !file.is_empty()) else { continue };
        non_reserved_path(file, &path.child(field), errors);
        if !seen.insert(file) {
            errors.invalid(&path.child(field), file, DUPLICATE);
        }
    }
}

/// `domain/path`: a DNS subdomain with at least two labels, and a path of DNS subdomains.
pub(crate) fn signer_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let Some((domain, rest)) = name.split_once('/') else {
        let message = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(path, name, message);
        return;
    };
    for message in check::is_dns_subdomain(domain) {
        errors.invalid(path, name, format!("validating label {domain:?}: {message}"));
    }
    if domain.split('.').count() < 2 {
        errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
    }
    for part in rest.split('/').flat_map(|part| part.split('.')) {
        for message in check::is_dns_subdomain(part) {
            errors.invalid(path, name, format!("validating label {part:?}: {message}"));
        }
    }
}
