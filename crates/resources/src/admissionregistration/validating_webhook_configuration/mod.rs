//! Validating webhook configurations for the registry. Upstream: `pkg/registry/admissionregistration/validatingwebhookconfiguration`.

use apimachinery::field::ErrorList;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::{Items, default_text};

type C = Column<ValidatingWebhookConfiguration>;

pub struct ValidatingWebhookConfigurations;

impl Strategy for ValidatingWebhookConfigurations {
    type Object = ValidatingWebhookConfiguration;

    const INFO: Info = Info::cluster(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    )
    .categories(&["api-extensions"]);
    const COLUMNS: &'static [Column<ValidatingWebhookConfiguration>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;

    fn set_defaults(&self, object: &mut ValidatingWebhookConfiguration) {
        for webhook in object.webhooks.items_mut() {
            default_text(&mut webhook.failure_policy, "Fail");
            default_text(&mut webhook.match_policy, "Equivalent");
            webhook.namespace_selector.get_or_insert_default();
            webhook.object_selector.get_or_insert_default();
            webhook.timeout_seconds.get_or_insert(10);
            if let Some(service) = &mut webhook.client_config.service {
                service.port.get_or_insert(443);
            }
            for rule in webhook.rules.items_mut() {
                default_text(&mut rule.scope, "*");
            }
        }
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut ValidatingWebhookConfiguration) {
        object.start_generation();
    }

    fn prepare_for_update(
        &self,
        _cx: &RequestCx,
        new: &mut ValidatingWebhookConfiguration,
        old: &ValidatingWebhookConfiguration,
    ) {
        new.bump_generation_if(old, new.webhooks != old.webhooks);
    }

    fn validate(&self, _cx: &RequestCx, object: &ValidatingWebhookConfiguration) -> ErrorList {
        super::webhooks::validate(object.webhooks.items(), None)
    }

    fn validate_update(
        &self,
        _cx: &RequestCx,
        new: &ValidatingWebhookConfiguration,
        old: &ValidatingWebhookConfiguration,
    ) -> ErrorList {
        super::webhooks::validate(new.webhooks.items(), Some(old.webhooks.items()))
    }
}

static COLUMNS: &[Column<ValidatingWebhookConfiguration>] = &[
    Column::NAME,
    C::integer("Webhooks", |o, _| json!(o.webhooks.items().len()))
        .describe("Webhooks indicates the number of webhooks registered in this configuration"),
    Column::AGE,
];
