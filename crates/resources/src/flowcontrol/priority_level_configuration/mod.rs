//! Priority level configurations for the registry. Upstream: `pkg/registry/flowcontrol/prioritylevelconfiguration`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::flowcontrol::v1::{
    LimitedPriorityLevelConfiguration, PriorityLevelConfiguration, QueuingConfiguration,
};
use registry::{
    Column, Filter, Info, ObjectExt, RequestCx, Strategy, Subresource, keep_all_but_status, keep_metadata,
    reset_metadata,
};
use serde_json::{Value, json};

use crate::optional::default_nonzero;

type C = Column<PriorityLevelConfiguration>;

pub struct PriorityLevelConfigurations;

impl Strategy for PriorityLevelConfigurations {
    type Object = PriorityLevelConfiguration;

    const INFO: Info = Info::cluster(
        "flowcontrol.apiserver.k8s.io",
        "v1",
        "PriorityLevelConfiguration",
        "prioritylevelconfigurations",
    );
    const COLUMNS: &'static [Column<PriorityLevelConfiguration>] = COLUMNS;
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::STATUS];

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        reset_metadata(subresource)
    }

    fn set_defaults(&self, object: &mut PriorityLevelConfiguration) {
        let spec = object.spec.get_or_insert_default();
        if let Some(exempt) = &mut spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        if let Some(limited) = &mut spec.limited {
            limited.nominal_concurrency_shares.get_or_insert(30);
            limited.lendable_percent.get_or_insert(0);
            let queuing = limited.limit_response.as_mut().and_then(|response| response.queuing.as_mut());
            if let Some(queuing) = queuing {
                default_nonzero(&mut queuing.queues, 64);
                default_nonzero(&mut queuing.hand_size, 8);
                default_nonzero(&mut queuing.queue_length_limit, 50);
            }
        }
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut PriorityLevelConfiguration) {
        object.status = None;
        object.start_generation();
    }

    fn prepare_for_update(
        &self,
        _cx: &RequestCx,
        new: &mut PriorityLevelConfiguration,
        old: &PriorityLevelConfiguration,
    ) {
        new.status.clone_from(&old.status);
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &PriorityLevelConfiguration) -> ErrorList {
        validation::validate(object)
    }

    fn prepare_for_status_update(
        &self,
        _cx: &RequestCx,
        new: &mut PriorityLevelConfiguration,
        old: &PriorityLevelConfiguration,
    ) {
        keep_all_but_status(new, old);
        keep_metadata(new, old);
    }

    fn validate_status_update(
        &self,
        _cx: &RequestCx,
        new: &PriorityLevelConfiguration,
        _old: &PriorityLevelConfiguration,
    ) -> ErrorList {
        validation::validate_status(new)
    }
}

fn limited(level: &PriorityLevelConfiguration) -> Option<&LimitedPriorityLevelConfiguration> {
    level.spec.as_ref()?.limited.as_ref()
}

fn queuing(level: &PriorityLevelConfiguration) -> Option<&QueuingConfiguration> {
    limited(level)?.limit_response.as_ref()?.queuing.as_ref()
}

fn number(number: Option<Option<i32>>) -> Value {
    number.map_or_else(|| json!("<none>"), |number| json!(number.unwrap_or(0)))
}

static COLUMNS: &[Column<PriorityLevelConfiguration>] = &[
    Column::NAME,
    C::string("Type", |o, _| json!(o.spec.as_ref().map_or("", |spec| &spec.type_))),
    C::string("NominalConcurrencyShares", |o, _| number(limited(o).map(|limited| limited.nominal_concurrency_shares))),
    C::string("Queues", |o, _| number(queuing(o).map(|queuing| queuing.queues))),
    C::string("HandSize", |o, _| number(queuing(o).map(|queuing| queuing.hand_size))),
    C::string("QueueLengthLimit", |o, _| number(queuing(o).map(|queuing| queuing.queue_length_limit))),
    Column::AGE,
];
