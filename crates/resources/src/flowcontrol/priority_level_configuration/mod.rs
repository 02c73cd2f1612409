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
    C::string("Type", |o, _| json!(o.spec.as_ref().map_or("", |spec| &spec.type_))).describe("`type` indicates whether this priority level is subject to limitation on request execution.  A value of `\"Exempt\"` means that requests of this priority level are not subject to a limit (and thus are never queued) and do not detract from the capacity made available to other priority levels.  A value of `\"Limited\"` means that (a) requests of this priority level _are_ subject to limits and (b) some of the server's limited capacity is made available exclusively to this priority level. Required."),
    C::string("NominalConcurrencyShares", |o, _| number(limited(o).map(|limited| limited.nominal_concurrency_shares))).describe("`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit (NominalCL) of this level. This is the number of execution seats available at this priority level. This is used both for requests dispatched from this priority level as well as requests dispatched from other priority levels borrowing seats from this level. The server's concurrency limit (ServerCL) is divided among the Limited priority levels in proportion to their NCS values:\n\nNominalCL(i)  = ceil( ServerCL * NCS(i) / sum_ncs ) sum_ncs = sum[priority level k] NCS(k)\n\nBigger numbers mean a larger nominal concurrency limit, at the expense of every other priority level.\n\nIf not specified, this field defaults to a value of 30.\n\nSetting this field to zero supports the construction of a \"jail\" for this priority level that is used to hold some request(s)"),
    C::string("Queues", |o, _| number(queuing(o).map(|queuing| queuing.queues))).describe("`queues` is the number of queues for this priority level. The queues exist independently at each apiserver. The value must be positive.  Setting it to 1 effectively precludes shufflesharding and thus makes the distinguisher method of associated flow schemas irrelevant.  This field has a default value of 64."),
    C::string("HandSize", |o, _| number(queuing(o).map(|queuing| queuing.hand_size))).describe("`handSize` is a small positive number that configures the shuffle sharding of requests into queues.  When enqueuing a request at this priority level the request's flow identifier (a string pair) is hashed and the hash value is used to shuffle the list of queues and deal a hand of the size specified here.  The request is put into one of the shortest queues in that hand. `handSize` must be no larger than `queues`, and should be significantly smaller (so that a few heavy flows do not saturate most of the queues).  See the user-facing documentation for more extensive guidance on setting this field.  This field has a default value of 8."),
    C::string("QueueLengthLimit", |o, _| number(queuing(o).map(|queuing| queuing.queue_length_limit))).describe("`queueLengthLimit` is the maximum number of requests allowed to be waiting in a given queue of this priority level at a time; excess requests are rejected.  This value must be positive.  If not specified, it will be defaulted to 50."),
    Column::AGE,
];
