//! Mutating admission policies for the registry. Upstream: `pkg/registry/admissionregistration/mutatingadmissionpolicy`.

use k8s_openapi::api::admissionregistration::v1::MutatingAdmissionPolicy;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::{Items, default_text};

type C = Column<MutatingAdmissionPolicy>;

pub struct MutatingAdmissionPolicies;

impl Strategy for MutatingAdmissionPolicies {
    type Object = MutatingAdmissionPolicy;

    const INFO: Info =
        Info::cluster("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
            .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<MutatingAdmissionPolicy>] = COLUMNS;

    fn set_defaults(&self, object: &mut MutatingAdmissionPolicy) {
        let spec = object.spec.get_or_insert_default();
        default_text(&mut spec.failure_policy, "Fail");
        default_text(&mut spec.reinvocation_policy, "Never");
        spec.match_constraints.iter_mut().for_each(super::policies::default_match);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut MutatingAdmissionPolicy) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut MutatingAdmissionPolicy, old: &MutatingAdmissionPolicy) {
        new.bump_generation_if(old, new.spec != old.spec);
    }
}

static COLUMNS: &[Column<MutatingAdmissionPolicy>] = &[
    Column::NAME,
    C::integer("Mutations", |o, _| json!(o.spec.as_ref().map_or(0, |spec| spec.mutations.items().len())))
        .describe("Mutation indicates the number of mutations rules defined in this configuration"),
    C::string("ParamKind", |o, _| {
        json!(super::policies::param_kind(o.spec.as_ref().and_then(|spec| spec.param_kind.as_ref())))
    })
    .describe("ParamKind specifies the kind of resources used to parameterize this policy"),
    Column::AGE,
];
