//! Pod disruption budgets for the registry. Upstream: `pkg/registry/policy/poddisruptionbudget`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy, Subresource};
use serde_json::json;

type C = Column<PodDisruptionBudget>;

pub struct PodDisruptionBudgets;

impl Strategy for PodDisruptionBudgets {
    type Object = PodDisruptionBudget;

    const INFO: Info = Info::namespaced("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]);
    const COLUMNS: &'static [Column<PodDisruptionBudget>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut PodDisruptionBudget) {
        object.status = None;
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut PodDisruptionBudget, old: &PodDisruptionBudget) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &PodDisruptionBudget) -> ErrorList {
        validation::validate(object)
    }

    fn validate_status_update(
        &self,
        _cx: &RequestCx,
        new: &PodDisruptionBudget,
        _old: &PodDisruptionBudget,
    ) -> ErrorList {
        validation::validate_status(new)
    }
}

fn or_not_applicable(amount: Option<&IntOrString>) -> String {
    match amount {
        None => "N/A".to_owned(),
        Some(IntOrString::Int(count)) => count.to_string(),
        Some(IntOrString::String(percent)) => percent.clone(),
    }
}

static COLUMNS: &[Column<PodDisruptionBudget>] = &[
    Column::NAME,
    C::string("Min Available", |o, _| {
        json!(or_not_applicable(o.spec.as_ref().and_then(|spec| spec.min_available.as_ref())))
    })
    .describe("The minimum number of pods that must be available."),
    C::string("Max Unavailable", |o, _| {
        json!(or_not_applicable(o.spec.as_ref().and_then(|spec| spec.max_unavailable.as_ref())))
    })
    .describe("The maximum number of pods that may be unavailable."),
    C::integer("Allowed Disruptions", |o, _| {
        json!(o.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0))
    })
    .describe("Calculated number of pods that may be disrupted at this time."),
    Column::AGE,
];
