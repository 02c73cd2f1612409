//! DenyServiceExternalIPs: nobody names addresses that their Service should answer for.
//! Upstream: `plugin/pkg/admission/denyserviceexternalips`.
//!
//! On by default here: with external IPs, who may write a Service reads the traffic of others (CVE-2020-8554).

use api::core::v1::Service;
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _, ready};
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
};

use crate::gvr;

pub(crate) struct DenyServiceExternalIPs;

impl Admission for DenyServiceExternalIPs {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        info.group.is_empty()
            && info.plural == "services"
            && subresource.is_empty()
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let addresses = |service: Option<&Service>| -> Vec<String> {
            service.and_then(|service| service.spec.as_ref()?.external_ips.clone()).unwrap_or_default()
        };
        let (new, old) = (addresses(request.object()), addresses(request.old_object()));
        let outcome = if new.iter().all(|address| old.contains(address)) {
            Ok(())
        } else {
            let why = "Use of external IPs is denied by admission control";
            Err(ApiError::forbidden(&gvr(request.info), request.name, why))
        };
        ready(outcome).boxed()
    }
}

#[cfg(test)]
mod tests {
    use api::core::v1::Service;
    use registry::Info;
    use serde_json::{Value, json};

    use super::DenyServiceExternalIPs;
    use crate::testing::Case;

    const SERVICES: Info = Info::namespaced("", "v1", "Service", "services");

    fn service(addresses: &[&str]) -> Value {
        json!({"metadata": {"name": "s", "namespace": "ns"}, "spec": {"externalIPs": addresses}})
    }

    /// CVE-2020-8554: a Service that answers for the address of somebody else.
    #[test]
    fn cve_2020_8554_external_addresses_are_refused() {
        let create = Case::create(SERVICES, &[], service(&["1.1.1.1"])).run::<Service>(&DenyServiceExternalIPs);
        assert_eq!(
            create.object.expect_err("refused"),
            r#"services "s" is forbidden: Use of external IPs is denied by admission control"#
        );
        let update = |old: &[&str], new: &[&str]| {
            let case = Case::update(SERVICES, &[], service(old), service(new));
            case.run::<Service>(&DenyServiceExternalIPs).object.is_ok()
        };
        assert!(!update(&["1.1.1.1"], &["1.1.1.1", "2.2.2.2"]));
        assert!(update(&["1.1.1.1", "2.2.2.2"], &["1.1.1.1"]), "what is there may stay and go");
    }
}
