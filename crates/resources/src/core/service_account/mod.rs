//! Service accounts for the registry. Upstream: `pkg/registry/core/serviceaccount`.

use k8s_openapi::api::core::v1::ServiceAccount;
use registry::{Column, Handler, Info, RequestCx, Strategy, Subresource};

use crate::optional::Items;

pub struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    type Object = ServiceAccount;

    const INFO: Info = Info::namespaced("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"]);
    const COLUMNS: &'static [Column<ServiceAccount>] = COLUMNS;
    const RETURN_DELETED_OBJECT: bool = true;
    const SUBRESOURCES: &'static [Subresource] =
        &[Subresource::new("token", Handler::Action).body("authentication.k8s.io", "v1", "TokenRequest")];

    fn prepare_for_create(&self, _cx: &RequestCx, account: &mut ServiceAccount) {
        only_names(account);
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut ServiceAccount, _old: &ServiceAccount) {
        only_names(new);
    }

    fn warnings(&self, _cx: &RequestCx, account: &ServiceAccount, _old: Option<&ServiceAccount>) -> Vec<String> {
        const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
        let annotations = account.metadata.annotations.as_ref();
        if annotations.is_some_and(|annotations| annotations.contains_key(ENFORCE)) {
            return vec![format!(
                "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            )];
        }
        Vec::new()
    }
}

/// Of a referenced secret only the name counts.
fn only_names(account: &mut ServiceAccount) {
    for secret in account.secrets.items_mut() {
        let name = secret.name.take();
        *secret = Default::default();
        secret.name = name;
    }
}

static COLUMNS: &[Column<ServiceAccount>] = &[Column::NAME, Column::AGE];
