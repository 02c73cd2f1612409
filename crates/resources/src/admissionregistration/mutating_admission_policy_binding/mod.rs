//! Mutating admission policy bindings for the registry. Upstream: `pkg/registry/admissionregistration/mutatingadmissionpolicybinding`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicyBinding;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::Text;

type C = Column<MutatingAdmissionPolicyBinding>;

pub struct MutatingAdmissionPolicyBindings;

impl Strategy for MutatingAdmissionPolicyBindings {
    type Object = MutatingAdmissionPolicyBinding;

    const INFO: Info = Info::cluster(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingAdmissionPolicyBinding",
        "mutatingadmissionpolicybindings",
    )
    .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<MutatingAdmissionPolicyBinding>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&self, object: &mut MutatingAdmissionPolicyBinding) {
        let spec = object.spec.get_or_insert_default();
        spec.match_resources.iter_mut().for_each(super::policies::default_match);
        spec.param_ref.iter_mut().for_each(super::policies::default_param_ref);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut MutatingAdmissionPolicyBinding) {
        object.start_generation();
    }

    fn prepare_for_update(
        &self,
        _cx: &RequestCx,
        new: &mut MutatingAdmissionPolicyBinding,
        old: &MutatingAdmissionPolicyBinding,
    ) {
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &MutatingAdmissionPolicyBinding) -> ErrorList {
        let mut errors = ErrorList::default();
        let spec = object.spec.clone().unwrap_or_default();
        let (reference, resources) = (spec.param_ref.as_ref(), spec.match_resources.as_ref());
        let path = Path::new("spec");
        super::policies::binding(spec.policy_name.text(), reference, resources, &path, &mut errors);
        errors
    }
}

static COLUMNS: &[Column<MutatingAdmissionPolicyBinding>] = &[
    Column::NAME,
    C::string("PolicyName", |o, _| json!(o.spec.as_ref().map_or("", |spec| spec.policy_name.text())))
        .describe("PolicyName indicates the policy definition which the policy binding binded to"),
    C::string("ParamRef", |o, _| {
        json!(super::policies::param_ref(o.spec.as_ref().and_then(|spec| spec.param_ref.as_ref())))
    })
    .describe("ParamRef indicates the param resource which sets the configration param"),
    Column::AGE,
];
