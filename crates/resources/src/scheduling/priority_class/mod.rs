//! Priority classes for the registry. Upstream: `pkg/registry/scheduling/priorityclass`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::{Flag, Text};

type C = Column<PriorityClass>;

pub struct PriorityClasses;

impl Strategy for PriorityClasses {
    type Object = PriorityClass;

    const INFO: Info = Info::cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").short(&["pc"]);
    const COLUMNS: &'static [Column<PriorityClass>] = COLUMNS;

    fn set_defaults(&self, object: &mut PriorityClass) {
        object.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".to_owned());
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut PriorityClass) {
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut PriorityClass, old: &PriorityClass) {
        new.bump_generation_if(old, false);
    }

    fn validate(&self, _cx: &RequestCx, object: &PriorityClass) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &PriorityClass, old: &PriorityClass) -> ErrorList {
        validation::validate_update(new, old)
    }
}

static COLUMNS: &[Column<PriorityClass>] = &[
    Column::NAME,
    C::integer("Value", |o, _| json!(o.value.unwrap_or(0))).describe("value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec."),
    C::boolean("Global-Default", |o, _| json!(o.global_default.is_set())).describe("globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the smallest value of such global default PriorityClasses will be used as the default priority."),
    Column::AGE,
    C::string("PreemptionPolicy", |o, _| json!(o.preemption_policy.text())).describe("preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, PreemptLowerPriority. Defaults to PreemptLowerPriority if unset."),
];
