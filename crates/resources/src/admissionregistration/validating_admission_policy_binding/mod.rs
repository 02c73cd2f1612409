//! Validating admission policy bindings for the registry. Upstream: `pkg/registry/admissionregistration/validatingadmissionpolicybinding`.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

type C = Column<ValidatingAdmissionPolicyBinding>;

pub struct ValidatingAdmissionPolicyBindings;

impl Strategy for ValidatingAdmissionPolicyBindings {
    type Object = ValidatingAdmissionPolicyBinding;

    const INFO: Info = Info::cluster(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
    )
    .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<ValidatingAdmissionPolicyBinding>] = COLUMNS;

    fn set_defaults(&self, object: &mut ValidatingAdmissionPolicyBinding) {
        object.spec.match_resources.iter_mut().for_each(super::policies::default_match);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ValidatingAdmissionPolicyBinding) {
        object.start_generation();
    }

    fn prepare_for_update(
        &self,
        _cx: &RequestCx,
        new: &mut ValidatingAdmissionPolicyBinding,
        old: &ValidatingAdmissionPolicyBinding,
    ) {
        new.bump_generation_if(old, new.spec != old.spec);
    }
}

static COLUMNS: &[Column<ValidatingAdmissionPolicyBinding>] = &[
    Column::NAME,
    C::string("PolicyName", |o, _| json!(o.spec.policy_name))
        .describe("PolicyName indicates the policy definition which the policy binding binded to"),
    C::string("ParamRef", |o, _| json!(super::policies::param_ref(o.spec.param_ref.as_ref())))
        .describe("ParamRef indicates the param resource which sets the configration param"),
    Column::AGE,
];
