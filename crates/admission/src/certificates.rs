//! CertificateApproval, CertificateSigning, ClusterTrustBundleAttest: who acts for a signer needs its permission.
//! CertificateSubjectRestriction: nobody asks to be a master. Upstream: `plugin/pkg/admission/certificates`.

use std::sync::Arc;

use api::certificates::v1::CertificateSigningRequest;
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info, UserInfo,
    admission::{Admission, AdmissionRequest, Operation},
    auth::{Attributes, Authorizer},
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

use crate::gvr;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// What is done for a signer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Approve,
    Sign,
    Attest,
}

/// One of the three plugins that ask for a permission on a signer.
pub(crate) struct SignerPermission {
    pub(crate) act: Act,
    pub(crate) authorizer: Arc<dyn Authorizer>,
}

pub(crate) struct CertificateSubjectRestriction;

impl SignerPermission {
    fn verb(&self) -> &'static str {
        match self.act {
            Act::Approve => "approve",
            Act::Sign => "sign",
            Act::Attest => "attest",
        }
    }

    async fn check(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let signer = match self.act {
            Act::Attest => match request.object_json()? {
                Some(object) => object["spec"]["signerName"].as_str().unwrap_or_default().to_owned(),
                None => String::new(),
            },
            Act::Approve | Act::Sign => {
                let Some(old) = request.old_object::<CertificateSigningRequest>() else { return Ok(()) };
                if self.act == Act::Sign && !signs(request, old) {
                    return Ok(());
                }
                old.spec.signer_name.clone()
            }
        };
        // A bundle may belong to no signer.
        if self.act == Act::Attest && signer.is_empty() {
            return Ok(());
        }
        if self.permits(&request.cx.user, &signer).await {
            return Ok(());
        }
        let why = match self.act {
            Act::Attest => format!("user not permitted to attest for signerName {signer:?}"),
            Act::Approve | Act::Sign => {
                format!("user not permitted to {} requests with signerName {signer:?}", self.verb())
            }
        };
        Err(ApiError::forbidden(&gvr(request.info), request.name, why))
    }

    /// For the signer itself, or for all of its domain. Upstream: `certificates.IsAuthorizedForSignerName`.
    async fn permits(&self, user: &Arc<UserInfo>, signer: &str) -> bool {
        let domain = signer.split('/').next().unwrap_or_default();
        for name in [signer.to_owned(), format!("{domain}/*")] {
            let attributes = Attributes {
                user: Arc::clone(user),
                verb: self.verb().to_owned(),
                name,
                api_group: GROUP.to_owned(),
                api_version: "*".to_owned(),
                resource: "signers".to_owned(),
                is_resource_request: true,
                ..Attributes::default()
            };
            if self.authorizer.authorize(&attributes).await.is_allowed() {
                return true;
            }
        }
        false
    }
}

/// Whether the update of a status is what a signer does.
fn signs(request: &AdmissionRequest<'_>, old: &CertificateSigningRequest) -> bool {
    let Some(new) = request.object::<CertificateSigningRequest>() else { return false };
    let of = |object: &CertificateSigningRequest| {
        let status = object.status.clone().unwrap_or_default();
        (status.certificate, status.conditions.unwrap_or_default())
    };
    of(new) != of(old)
}

impl Admission for SignerPermission {
    fn name(&self) -> &'static str {
        match self.act {
            Act::Approve => "CertificateApproval",
            Act::Sign => "CertificateSigning",
            Act::Attest => "ClusterTrustBundleAttest",
        }
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        let (plural, own) = match self.act {
            Act::Approve => (REQUESTS, "approval"),
            Act::Sign => (REQUESTS, "status"),
            Act::Attest => ("clustertrustbundles", ""),
        };
        let operation = operation == Operation::Update || (self.act == Act::Attest && operation == Operation::Create);
        info.group == GROUP && info.plural == plural && subresource == own && operation
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.check(request).boxed()
    }
}

impl Admission for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group == GROUP && info.plural == REQUESTS && subresource.is_empty() && operation == Operation::Create
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let refuse = |why: &str| Err(ApiError::forbidden(&gvr(request.info), request.name, why));
        let outcome = match request.object::<CertificateSigningRequest>() {
            Some(object) if object.spec.signer_name == "kubernetes.io/kube-apiserver-client" => {
                match asks_for_masters(&object.spec.request.0) {
                    Some(false) => Ok(()),
                    Some(true) => refuse(
                        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
                    ),
                    None => refuse("failed to parse CSR: PEM block type must be CERTIFICATE REQUEST"),
                }
            }
            _ => Ok(()),
        };
        ready(outcome).boxed()
    }
}

/// None: it is no request.
fn asks_for_masters(pem: &[u8]) -> Option<bool> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).ok()?;
    let organizations = request.certification_request_info.subject.iter_organization();
    let names: Vec<_> = organizations.filter_map(|name| name.as_str().ok()).collect();
    Some(names.contains(&UserInfo::MASTERS_GROUP))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api::certificates::v1::CertificateSigningRequest;
    use registry::{Info, admission::Operation, auth::AlwaysAllow};
    use serde_json::json;

    use super::{Act, GROUP, REQUESTS, SignerPermission};
    use crate::testing::{Case, DenyAll};

    const INFO: Info = Info::cluster(GROUP, "v1", "CertificateSigningRequest", REQUESTS);

    #[test]
    fn signers_have_permissions_of_their_own() {
        let object = json!({"metadata": {"name": "c"}, "spec": {"request": "", "signerName": "example.com/s"}});
        let mut signed = object.clone();
        signed["status"] = json!({"certificate": "eA=="});
        let run = |act, subresource, new: &serde_json::Value, allowed: bool| {
            let authorizer: Arc<dyn registry::auth::Authorizer> =
                if allowed { Arc::new(AlwaysAllow) } else { Arc::new(DenyAll) };
            let case = Case {
                subresource,
                operation: Operation::Update,
                ..Case::update(INFO, &[], object.clone(), new.clone())
            };
            case.run::<CertificateSigningRequest>(&SignerPermission { act, authorizer }).object
        };
        assert_eq!(
            run(Act::Approve, "approval", &object, false).expect_err("refused"),
            r#"certificatesigningrequests.certificates.k8s.io "c" is forbidden: user not permitted to approve requests with signerName "example.com/s""#
        );
        assert!(run(Act::Approve, "approval", &object, true).is_ok());
        assert!(run(Act::Sign, "status", &signed, false).is_err());
        assert!(run(Act::Sign, "status", &object, false).is_ok(), "nothing is signed");
    }
}
