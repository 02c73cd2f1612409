//! Validation of certificate signing requests. Upstream: `pkg/apis/certificates/validation`.

use apimachinery::field::{ErrorList, Path};
use base64::Engine;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use serde_json::json;

use crate::check::Report;
use crate::core::volume::projected::signer_name;
use crate::optional::Items;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const SHORTEST: i32 = 600;

pub(super) fn validate(request: &CertificateSigningRequest) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&request.spec, Path::new("spec"));
    if let Err(why) = certificate_request(&spec.request.0) {
        errors.invalid(&path.child("request"), json!(spec.request), why);
    }
    let usages = path.child("usages");
    if spec.usages.items().is_empty() {
        errors.required(&usages, "usages must contain at least one value");
    }
    for (index, usage) in spec.usages.items().iter().enumerate() {
        if !USAGES.contains(&usage.as_str()) {
            errors.not_supported(&usages.index(index), usage, USAGES);
        }
        if spec.usages.items()[..index].contains(usage) {
            errors.duplicate(&usages.index(index), usage);
        }
    }
    let signer = path.child("signerName");
    if spec.signer_name == "kubernetes.io/legacy-unknown" {
        errors.invalid(&signer, &spec.signer_name, "the legacy signerName is not allowed via this API version");
    } else if spec.signer_name.is_empty() {
        errors.required(&signer, "");
    } else {
        signer_name(&spec.signer_name, &signer, &mut errors);
    }
    if let Some(seconds) = spec.expiration_seconds
        && seconds < SHORTEST
    {
        let message = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&path.child("expirationSeconds"), seconds, message);
    }
    conditions(all_conditions(request), &mut errors);
    errors
}

pub(super) fn validate_update(new: &CertificateSigningRequest, old: &CertificateSigningRequest) -> ErrorList {
    let mut errors = ErrorList::default();
    keeps_decisions(new, old, &["Approved", "Denied", "Failed"], &mut errors);
    conditions(all_conditions(new), &mut errors);
    errors
}

/// Whoever signs may not decide.
pub(super) fn validate_status_update(new: &CertificateSigningRequest, old: &CertificateSigningRequest) -> ErrorList {
    let mut errors = ErrorList::default();
    keeps_decisions(new, old, &DECISIONS, &mut errors);
    adds_no_decision(new, old, &mut errors);
    let certificate = |request: &CertificateSigningRequest| {
        request.status.as_ref().and_then(|status| status.certificate.clone()).filter(|bytes| !bytes.0.is_empty())
    };
    let path = Path::new("status").child("certificate");
    match (certificate(new), certificate(old)) {
        (new, Some(old)) if new.as_ref() != Some(&old) => {
            errors.forbidden(&path, "updates may not modify a previously set certificate")
        }
        (Some(new), None) if !is_certificate(&new.0) => {
            errors.invalid(&path, "<certificate data>", "must contain one or more PEM blocks");
        }
        _ => {}
    }
    conditions(all_conditions(new), &mut errors);
    errors
}

pub(super) fn validate_approval_update(new: &CertificateSigningRequest, old: &CertificateSigningRequest) -> ErrorList {
    let mut errors = ErrorList::default();
    keeps_decisions(new, old, &["Approved", "Denied", "Failed"], &mut errors);
    conditions(all_conditions(new), &mut errors);
    errors
}

fn all_conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().map_or(&[], |status| status.conditions.items())
}

fn keeps_decisions(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    kinds: &[&str],
    errors: &mut ErrorList,
) {
    let path = Path::new("status").child("conditions");
    for kind in kinds {
        let had = all_conditions(old).iter().any(|condition| condition.type_ == *kind);
        let has = all_conditions(new).iter().any(|condition| condition.type_ == *kind);
        if had && !has {
            errors.forbidden(&path, format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
}

fn adds_no_decision(new: &CertificateSigningRequest, old: &CertificateSigningRequest, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    for kind in DECISIONS {
        let of =
            |request| all_conditions(request).iter().filter(|condition| condition.type_ == kind).collect::<Vec<_>>();
        let (new, old) = (of(new), of(old));
        if new.len() > old.len() {
            errors.forbidden(&path, format!("updates may not add a condition of type \"{kind}\""));
        } else if new.len() == old.len() && new != old {
            errors.forbidden(&path, format!("updates may not modify a condition of type \"{kind}\""));
        }
    }
}

fn conditions(conditions: &[CertificateSigningRequestCondition], errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let (mut approved, mut denied) = (false, false);
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let kind = condition.type_.as_str();
        if kind.is_empty() {
            errors.required(&path.child("type"), "");
        }
        let status = path.child("status");
        match condition.status.as_str() {
            "" => errors.required(&status, ""),
            value if matches!(kind, "Approved" | "Denied" | "Failed") && value != "True" => {
                errors.not_supported(&status, value, &["True"]);
            }
            "True" | "False" | "Unknown" => {}
            value => errors.not_supported(&status, value, &["True", "False", "Unknown"]),
        }
        if conditions[..index].iter().any(|other| other.type_ == kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        approved |= kind == "Approved";
        denied |= kind == "Denied";
        if approved && denied && DECISIONS.contains(&kind) {
            errors.invalid(&path.child("type"), kind, "Approved and Denied conditions are mutually exclusive");
        }
    }
}

/// Whether the bytes are a PEM block of a request. What is in it is the signer's matter.
fn certificate_request(bytes: &[u8]) -> Result<(), &'static str> {
    match pem_block(bytes) {
        Some("CERTIFICATE REQUEST") => Ok(()),
        _ => Err("PEM block type must be CERTIFICATE REQUEST"),
    }
}

fn is_certificate(bytes: &[u8]) -> bool {
    pem_block(bytes) == Some("CERTIFICATE")
}

/// The label of the first PEM block, when its content is Base64.
fn pem_block(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (label, rest) = text.split_once("-----BEGIN ")?.1.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let content: String = body.lines().map(str::trim).filter(|line| !line.contains(':')).collect();
    base64::engine::general_purpose::STANDARD.decode(content).ok().map(|_| label)
}
