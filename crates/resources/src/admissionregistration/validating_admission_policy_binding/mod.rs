//! Validating admission policy bindings for the registry. Upstream: `pkg/registry/admissionregistration/validatingadmissionpolicybinding`.

use std::collections::BTreeSet;

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::check::Report;

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
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&self, object: &mut ValidatingAdmissionPolicyBinding) {
        object.spec.match_resources.iter_mut().for_each(super::policies::default_match);
        object.spec.param_ref.iter_mut().for_each(super::policies::default_param_ref);
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

    fn validate(&self, _cx: &RequestCx, object: &ValidatingAdmissionPolicyBinding) -> ErrorList {
        let mut errors = ErrorList::default();
        let (spec, path) = (&object.spec, Path::new("spec"));
        let (reference, resources) = (spec.param_ref.as_ref(), spec.match_resources.as_ref());
        super::policies::binding(&spec.policy_name, reference, resources, &path, &mut errors);
        actions(&spec.validation_actions, &path.child("validationActions"), &mut errors);
        errors
    }
}

fn actions(actions: &[String], path: &Path, errors: &mut ErrorList) {
    const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];
    let mut seen = BTreeSet::new();
    for (index, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(&action.as_str()) {
            errors.not_supported(&path.index(index), action, ACTIONS);
        }
        if !seen.insert(action.as_str()) {
            errors.duplicate(&path.index(index), action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let message = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.invalid(path, actions, message);
    }
    if actions.is_empty() {
        errors.required(path, "at least one validation action is required");
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
