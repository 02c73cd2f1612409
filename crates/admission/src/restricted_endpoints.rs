//! RestrictedEndpoints: who writes endpoints by hand cannot point them at other people's pods.
//!
//! Load balancers and Ingresses forward to whatever address stands in Endpoints and EndpointSlices, from a place that the
//! network policies of a namespace let in: a confused deputy (CVE-2021-25740). An address of the cluster's own ranges
//! must be that of a pod of the same namespace, unless it stood there before, or the user may `create`
//! `endpoints/restricted`. Upstream only took the permission out of the default roles; OpenShift's
//! `RestrictedEndpointsAdmission` is the counterpart.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use api::{
    core::v1::{Endpoints, Pod},
    discovery::v1::EndpointSlice,
};
use apimachinery::ApiError;
use futures::future::{BoxFuture, FutureExt as _};
use ipnet::IpNet;
use registry::{
    Info,
    admission::{Admission, AdmissionRequest, Operation},
    auth::{Attributes, Authorizer},
};

use crate::gvr;

/// The controllers that keep endpoints are service accounts of this namespace.
const CONTROLLERS: &str = "system:serviceaccounts:kube-system";

pub(crate) struct RestrictedEndpoints {
    ranges: Vec<IpNet>,
    authorizer: Arc<dyn Authorizer>,
}

impl RestrictedEndpoints {
    /// `ranges`: addresses of pods and Services.
    pub(crate) fn new(ranges: Vec<IpNet>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { ranges, authorizer }
    }

    async fn check(&self, request: &AdmissionRequest<'_>) -> Result<(), ApiError> {
        let old = addresses(request.old_object(), request.old_object());
        let added: Vec<IpAddr> = addresses(request.object(), request.object())
            .into_iter()
            .filter(|address| !old.contains(address) && self.ranges.iter().any(|range| range.contains(address)))
            .collect();
        if added.is_empty() || request.cx.user.in_group(CONTROLLERS) {
            return Ok(());
        }
        let pods: Vec<Pod> = request.cx.reader.list("", "pods", Some(request.namespace));
        let own: BTreeSet<IpAddr> = pods.iter().flat_map(pod_addresses).collect();
        let Some(foreign) = added.into_iter().find(|address| !own.contains(address)) else { return Ok(()) };
        let attributes = Attributes {
            user: Arc::clone(&request.cx.user),
            verb: "create".to_owned(),
            namespace: request.namespace.to_owned(),
            api_group: request.info.group.to_owned(),
            api_version: request.info.version.to_owned(),
            resource: request.info.plural.to_owned(),
            subresource: "restricted".to_owned(),
            name: request.name.to_owned(),
            is_resource_request: true,
            ..Attributes::default()
        };
        if self.authorizer.authorize(&attributes).await.is_allowed() {
            return Ok(());
        }
        let why = format!("endpoint address {foreign} is not allowed: it is no address of a pod of this namespace");
        Err(ApiError::forbidden(&gvr(request.info), request.name, why))
    }
}

impl Admission for RestrictedEndpoints {
    fn name(&self) -> &'static str {
        "RestrictedEndpoints"
    }

    fn handles(&self, info: &Info, subresource: &str, operation: Operation) -> bool {
        matches!((info.group, info.plural), ("", "endpoints") | ("discovery.k8s.io", "endpointslices"))
            && subresource.is_empty()
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, request: &'a AdmissionRequest<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        self.check(request).boxed()
    }
}

fn addresses(endpoints: Option<&Endpoints>, slice: Option<&EndpointSlice>) -> BTreeSet<IpAddr> {
    let subsets = endpoints.into_iter().flat_map(|endpoints| endpoints.subsets.iter().flatten());
    let of_subsets = subsets.flat_map(|subset| {
        let ready = subset.addresses.iter().flatten();
        ready.chain(subset.not_ready_addresses.iter().flatten()).map(|address| address.ip.as_str())
    });
    let of_slice = slice.into_iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let of_slice = of_slice.flat_map(|endpoint| endpoint.addresses.iter().map(String::as_str));
    of_subsets.chain(of_slice).filter_map(|text| text.parse::<IpAddr>().ok()).map(|ip| ip.to_canonical()).collect()
}

fn pod_addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let status = pod.status.as_ref();
    let several = status.into_iter().flat_map(|status| status.pod_ips.iter().flatten()).map(|ip| ip.ip.as_str());
    let one = status.and_then(|status| status.pod_ip.as_deref());
    several.chain(one).filter_map(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api::{core::v1::Endpoints, discovery::v1::EndpointSlice};
    use registry::{Info, UserInfo};
    use serde_json::{Value, json};

    use super::RestrictedEndpoints;
    use crate::testing::{Case, DenyAll};

    const SLICES: Info = Info::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
    const ENDPOINTS: Info = Info::namespaced("", "v1", "Endpoints", "endpoints");
    const POD: &str =
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns"},"status":{"podIP":"10.42.0.5"}}"#;

    fn plugin() -> RestrictedEndpoints {
        RestrictedEndpoints::new(vec!["10.42.0.0/16".parse().expect("a range")], Arc::new(DenyAll))
    }

    fn slice(address: &str) -> Value {
        json!({"metadata": {"name": "s", "namespace": "ns"}, "addressType": "IPv4", "endpoints": [{"addresses": [address]}]})
    }

    /// CVE-2021-25740: endpoints at the pod of another namespace.
    #[test]
    fn cve_2021_25740_endpoints_stay_in_their_namespace() {
        let create = |address| Case::create(SLICES, &[POD], slice(address)).run::<EndpointSlice>(&plugin()).object;
        assert_eq!(
            create("10.42.0.6").expect_err("refused"),
            r#"endpointslices.discovery.k8s.io "s" is forbidden: endpoint address 10.42.0.6 is not allowed: it is no address of a pod of this namespace"#
        );
        assert!(create("10.42.0.5").is_ok(), "a pod of the namespace");
        assert!(create("192.0.2.7").is_ok(), "an address outside the cluster");
        let endpoints =
            json!({"metadata": {"name": "e", "namespace": "ns"}, "subsets": [{"addresses": [{"ip": "10.42.0.6"}]}]});
        assert!(Case::create(ENDPOINTS, &[POD], endpoints).run::<Endpoints>(&plugin()).object.is_err());
        let kept = Case::update(SLICES, &[POD], slice("10.42.0.6"), slice("10.42.0.6"));
        assert!(kept.run::<EndpointSlice>(&plugin()).object.is_ok(), "what stood there stays");
        let mut controller = Case::create(SLICES, &[POD], slice("10.42.0.6"));
        controller.user = UserInfo::new("c", ["system:serviceaccounts:kube-system"]);
        assert!(controller.run::<EndpointSlice>(&plugin()).object.is_ok());
    }
}
