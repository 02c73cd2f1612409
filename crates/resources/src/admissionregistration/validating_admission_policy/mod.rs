//! Validating admission policies for the registry. Upstream: `pkg/registry/admissionregistration/validatingadmissionpolicy`.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy, Subresource};
use serde_json::json;

use crate::optional::{Items, default_text};

type C = Column<ValidatingAdmissionPolicy>;

pub struct ValidatingAdmissionPolicies;

impl Strategy for ValidatingAdmissionPolicies {
    type Object = ValidatingAdmissionPolicy;

    const INFO: Info =
        Info::cluster("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<ValidatingAdmissionPolicy>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn set_defaults(&self, object: &mut ValidatingAdmissionPolicy) {
        let spec = object.spec.get_or_insert_default();
        default_text(&mut spec.failure_policy, "Fail");
        spec.match_constraints.iter_mut().for_each(super::policies::default_match);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ValidatingAdmissionPolicy) {
        object.status = None;
        object.start_generation();
    }

    fn prepare_for_update(
        &self,
        _cx: &RequestCx,
        new: &mut ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }
}

static COLUMNS: &[Column<ValidatingAdmissionPolicy>] = &[
    Column::NAME,
    C::integer("Validations", |o, _| json!(o.spec.as_ref().map_or(0, |spec| spec.validations.items().len())))
        .describe("Validations indicates the number of validation rules defined in this configuration"),
    C::string("ParamKind", |o, _| {
        json!(super::policies::param_kind(o.spec.as_ref().and_then(|spec| spec.param_kind.as_ref())))
    })
    .describe("ParamKind specifies the kind of resources used to parameterize this policy"),
    Column::AGE,
];
