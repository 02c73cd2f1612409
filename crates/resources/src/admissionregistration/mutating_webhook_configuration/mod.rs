//! Mutating webhook configurations for the registry. Upstream: `pkg/registry/admissionregistration/mutatingwebhookconfiguration`.

use apimachinery::field::ErrorList;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::{Items, default_text};

type C = Column<MutatingWebhookConfiguration>;

pub struct MutatingWebhookConfigurations;

impl Strategy for MutatingWebhookConfigurations {
    type Object = MutatingWebhookConfiguration;

    const INFO: Info = Info::cluster(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    )
    .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<MutatingWebhookConfiguration>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&self, object: &mut MutatingWebhookConfiguration) {
        for webhook in object.webhooks.items_mut() {
            default_text(&mut webhook.failure_policy, "Fail");
            default_text(&mut webhook.match_policy, "Equivalent");
            webhook.namespace_selector.get_or_insert_default();
            webhook.object_selector.get_or_insert_default();
            webhook.timeout_seconds.get_or_insert(10);
            default_text(&mut webhook.reinvocation_policy, "Never");
            if let Some(service) = &mut webhook.client_config.service {
                service.port.get_or_insert(443);
            }
            for rule in webhook.rules.items_mut() {
                default_text(&mut rule.scope, "*");
            }
        }
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut MutatingWebhookConfiguration) {
        object.start_generation();
    }

    fn prepare_for_update(
        &self,
        _cx: &RequestCx,
        new: &mut MutatingWebhookConfiguration,
        old: &MutatingWebhookConfiguration,
    ) {
        new.bump_generation_if(old, new.webhooks != old.webhooks);
    }

    fn validate(&self, _cx: &RequestCx, object: &MutatingWebhookConfiguration) -> ErrorList {
        super::webhooks::validate(object.webhooks.items(), None)
    }

    fn validate_update(
        &self,
        _cx: &RequestCx,
        new: &MutatingWebhookConfiguration,
        old: &MutatingWebhookConfiguration,
    ) -> ErrorList {
        super::webhooks::validate(new.webhooks.items(), Some(old.webhooks.items()))
    }
}

static COLUMNS: &[Column<MutatingWebhookConfiguration>] = &[
    Column::NAME,
    C::integer("Webhooks", |o, _| json!(o.webhooks.items().len()))
        .describe("Webhooks indicates the number of webhooks registered in this configuration"),
    Column::AGE,
];
