//! Mutating admission policies for the registry. Upstream: `pkg/registry/admissionregistration/mutatingadmissionpolicy`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use super::{expressions, policies};
use crate::check::Report;
use crate::optional::{Items, Text, default_text};

type C = Column<MutatingAdmissionPolicy>;

pub struct MutatingAdmissionPolicies;

impl Strategy for MutatingAdmissionPolicies {
    type Object = MutatingAdmissionPolicy;

    const INFO: Info =
        Info::cluster("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
            .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<MutatingAdmissionPolicy>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&self, object: &mut MutatingAdmissionPolicy) {
        let spec = object.spec.get_or_insert_default();
        default_text(&mut spec.failure_policy, "Fail");
        default_text(&mut spec.reinvocation_policy, "Never");
        spec.match_constraints.iter_mut().for_each(policies::default_match);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut MutatingAdmissionPolicy) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut MutatingAdmissionPolicy, old: &MutatingAdmissionPolicy) {
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &MutatingAdmissionPolicy) -> ErrorList {
        validate(object, None)
    }

    fn validate_update(
        &self,
        _cx: &RequestCx,
        new: &MutatingAdmissionPolicy,
        old: &MutatingAdmissionPolicy,
    ) -> ErrorList {
        validate(new, Some(old))
    }
}

fn validate(object: &MutatingAdmissionPolicy, old: Option<&MutatingAdmissionPolicy>) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("spec");
    let spec = object.spec.clone().unwrap_or_default();
    let common = policies::Common {
        failure_policy: spec.failure_policy.as_deref(),
        param_kind: spec.param_kind.as_ref(),
        constraints: spec.match_constraints.as_ref(),
        conditions: spec.match_conditions.items(),
        variables: spec.variables.items(),
    };
    let same_conditions = old
        .and_then(|old| old.spec.as_ref())
        .is_some_and(|old| old.param_kind == spec.param_kind && old.match_conditions == spec.match_conditions);
    let environments = policies::common(&common, same_conditions, &path, &mut errors);
    expressions::mutations(spec.mutations.items(), &environments, &path, &mut errors);
    match spec.reinvocation_policy.text() {
        "" => errors.required(&path.child("reinvocationPolicy"), ""),
        "IfNeeded" | "Never" => {}
        other => errors.not_supported(&path.child("reinvocationPolicy"), other, &["IfNeeded", "Never"]),
    }
    errors
}

static COLUMNS: &[Column<MutatingAdmissionPolicy>] = &[
    Column::NAME,
    C::integer("Mutations", |o, _| json!(o.spec.as_ref().map_or(0, |spec| spec.mutations.items().len())))
        .describe("Mutation indicates the number of mutations rules defined in this configuration"),
    C::string("ParamKind", |o, _| {
        json!(policies::param_kind(o.spec.as_ref().and_then(|spec| spec.param_kind.as_ref())))
    })
    .describe("ParamKind specifies the kind of resources used to parameterize this policy"),
    Column::AGE,
];
