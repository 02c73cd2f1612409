//! Validating admission policies for the registry. Upstream: `pkg/registry/admissionregistration/validatingadmissionpolicy`.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use registry::{
    Column, Filter, Info, ObjectExt, RequestCx, Strategy, Subresource, keep_all_but_status, keep_metadata,
    reset_metadata,
};
use serde_json::json;

use super::{expressions, policies};
use crate::check::{self, Report};
use crate::optional::{Items, Text, default_text};

type C = Column<ValidatingAdmissionPolicy>;

pub struct ValidatingAdmissionPolicies;

impl Strategy for ValidatingAdmissionPolicies {
    type Object = ValidatingAdmissionPolicy;

    const INFO: Info =
        Info::cluster("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<ValidatingAdmissionPolicy>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        reset_metadata(subresource)
    }

    fn set_defaults(&self, object: &mut ValidatingAdmissionPolicy) {
        let spec = object.spec.get_or_insert_default();
        default_text(&mut spec.failure_policy, "Fail");
        spec.match_constraints.iter_mut().for_each(policies::default_match);
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

    fn validate(&self, _cx: &RequestCx, object: &ValidatingAdmissionPolicy) -> ErrorList {
        validate(object, None)
    }

    fn validate_update(
        &self,
        _cx: &RequestCx,
        new: &ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) -> ErrorList {
        validate(new, Some(old))
    }

    fn prepare_for_status_update(
        &self,
        _cx: &RequestCx,
        new: &mut ValidatingAdmissionPolicy,
        old: &ValidatingAdmissionPolicy,
    ) {
        keep_all_but_status(new, old);
        keep_metadata(new, old);
    }

    fn validate_status_update(
        &self,
        _cx: &RequestCx,
        new: &ValidatingAdmissionPolicy,
        _old: &ValidatingAdmissionPolicy,
    ) -> ErrorList {
        validate_status(new)
    }
}

fn validate(object: &ValidatingAdmissionPolicy, old: Option<&ValidatingAdmissionPolicy>) -> ErrorList {
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
    let (validations, annotations) = (spec.validations.items(), spec.audit_annotations.items());
    if validations.is_empty() && annotations.is_empty() {
        let message = "validations or auditAnnotations must contain at least one item";
        errors.required(&path.child("validations"), message);
        errors.required(&path.child("auditAnnotations"), message);
    } else {
        expressions::validations(validations, &environments, &path, &mut errors);
        let name = object.metadata.name.text();
        expressions::audit_annotations(name, annotations, &environments, &path, &mut errors);
    }
    errors
}

fn validate_status(policy: &ValidatingAdmissionPolicy) -> ErrorList {
    let mut errors = ErrorList::default();
    let Some(status) = &policy.status else { return errors };
    let path = Path::new("status");
    let warnings = status.type_checking.as_ref().map_or(&[][..], |checking| checking.expression_warnings.items());
    for (index, warning) in warnings.iter().enumerate() {
        let path = path.child("typeChecking").child("expressionWarnings").index(index);
        if warning.warning.is_empty() {
            errors.required(&path.child("warning"), "");
        }
        if warning.field_ref.trim().is_empty() {
            errors.required(&path.child("fieldRef"), "");
        }
    }
    check::conditions(status.conditions.items(), &path.child("conditions"), &mut errors);
    errors
}

static COLUMNS: &[Column<ValidatingAdmissionPolicy>] = &[
    Column::NAME,
    C::integer("Validations", |o, _| json!(o.spec.as_ref().map_or(0, |spec| spec.validations.items().len())))
        .describe("Validations indicates the number of validation rules defined in this configuration"),
    C::string("ParamKind", |o, _| {
        json!(policies::param_kind(o.spec.as_ref().and_then(|spec| spec.param_kind.as_ref())))
    })
    .describe("ParamKind specifies the kind of resources used to parameterize this policy"),
    Column::AGE,
];
