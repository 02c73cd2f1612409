//! Certificate signing requests: kubelets' own are approved, approved ones are signed, old ones removed.
//! Upstream: `pkg/controller/certificates/{approver,signer,cleaner}`.

mod approving;
mod cleaner;
mod rules;
mod signing;
#[cfg(test)]
mod tests;

use api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

pub(crate) use approving::ENTRY as APPROVING;
pub(crate) use cleaner::ENTRY as CLEANER;
pub(crate) use signing::ENTRY as SIGNING;

const GROUP: &str = "certificates.k8s.io";
const ACCOUNT: &str = "certificate-controller";

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

fn condition<'a>(request: &'a CertificateSigningRequest, kind: &str) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().find(|condition| condition.type_ == kind && condition.status != "False")
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    certificate(request).is_some()
}

fn certificate(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    (!certificate.0.is_empty()).then_some(certificate.0.as_slice())
}

fn usages(request: &CertificateSigningRequest) -> Vec<&str> {
    request.spec.usages.iter().flatten().map(String::as_str).collect()
}
