//! Marks the tokens of Secrets that were made for accounts unasked, as long ago as Kubernetes did that, as invalid when
//! nobody has used them for long, and deletes them when nobody missed them for as long again.
//! Upstream: `pkg/controller/serviceaccount.LegacySATokenCleaner`.

use std::{collections::BTreeMap, time::Duration};

use api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use apimachinery::ObjectKey;
use informer::{Cache, Controller, Next, Reconcile, ReconcileError, Selection};
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;

use super::{
    NAMESPACE,
    service_account::{ACCOUNT_UID, TYPE, account_name},
};
use crate::{Context, Entry, Rule, Watch};

pub(crate) const ENTRY: Entry = Entry {
    name: "legacy-serviceaccount-token-cleaner-controller",
    service_account: "legacy-service-account-token-cleaner",
    watches: &[Watch::of("", "serviceaccounts"), Watch::of("", "secrets"), Watch::of("", "pods")],
    rules: &[Rule::named("", "configmaps", TRACKING, &["get"]), Rule::of("", "secrets", &["patch", "delete"])],
    start,
};

/// What the API server says there: since when uses are written down.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const SINCE: &str = "since";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// How often a token is looked at, unless its Secret changes.
const INTERVAL: Duration = Duration::from_hours(24);

struct Cleaner {
    client: Client,
    secrets: Cache<Secret>,
    accounts: Cache<ServiceAccount>,
    pods: Cache<Pod>,
    /// So long may a token be unused.
    period: SignedDuration,
}

#[derive(Debug, PartialEq)]
enum Plan {
    Keep,
    /// From this day on the token does not hold.
    Mark(String),
    Delete,
}

fn start(context: Context) {
    let selection = Selection { fields: format!("type={TYPE}"), ..Selection::default() };
    let secrets = context.caches.selected::<Secret>(selection);
    let accounts = context.caches.of::<ServiceAccount>();
    let pods = context.caches.of::<Pod>();
    let period = SignedDuration::try_from(context.options.legacy_token_clean_up_period).unwrap_or(SignedDuration::MAX);
    let reconciler = Cleaner {
        client: context.client,
        secrets: secrets.clone(),
        accounts: accounts.clone(),
        pods: pods.clone(),
        period,
    };
    // A pod or an account alone makes nothing due: both are only looked at.
    Controller::new(ENTRY.name, reconciler)
        .workers(1)
        .watch(&secrets)
        .needs(&accounts)
        .needs(&pods)
        .start(&context.supervisor);
}

/// What to do with a token of which nothing else is known than its Secret and its account.
fn plan(secret: &Secret, account: Option<&ServiceAccount>, period: SignedDuration, now: Timestamp) -> Plan {
    let Ok(threshold) = now.checked_sub(period) else { return Plan::Keep };
    let created = secret.metadata.creation_timestamp.as_ref().map(|created| created.0);
    if secret.metadata.deletion_timestamp.is_some() || created.is_none_or(|created| created >= threshold) {
        return Plan::Keep;
    }
    let oldest = day(threshold);
    let label = |name: &str| secret.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    // Without the label it was not used since uses are written down.
    if label(LAST_USED).is_some_and(|used| date(used).is_none() || *used >= oldest) {
        return Plan::Keep;
    }
    // Those that were asked for are in no account's list.
    let name = secret.metadata.name.as_deref();
    let listed =
        |account: &&ServiceAccount| account.secrets.iter().flatten().any(|listed| listed.name.as_deref() == name);
    let annotated = secret.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ACCOUNT_UID));
    let same = |account: &&ServiceAccount| {
        annotated.is_none_or(|uid| uid.is_empty() || Some(uid) == account.metadata.uid.as_ref())
    };
    if account.filter(same).filter(listed).is_none() {
        return Plan::Keep;
    }
    match label(INVALID_SINCE).filter(|since| date(since).is_some()) {
        None => Plan::Mark(day(now)),
        Some(since) if *since >= oldest => Plan::Keep,
        Some(_) => Plan::Delete,
    }
}

/// Whether uses have been written down for long enough to know that there was none.
fn is_known(tracked_since: &str, period: SignedDuration, now: Timestamp) -> bool {
    // All of the first day may lie before the first use that was written down.
    let from = date(tracked_since).and_then(|first| first.checked_add(1.day()).ok());
    let from = from.and_then(|from| from.to_zoned(TimeZone::UTC).ok()).map(|from| from.timestamp());
    from.and_then(|from| from.checked_add(period).ok()).is_some_and(|known| known <= now)
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn date(text: &str) -> Option<Date> {
    Date::strptime("%Y-%m-%d", text).ok()
}

/// Upstream: `VisitPodSecretNames`.
fn uses(pod: &Pod, wanted: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let environments = containers.map(|container| (&container.env, &container.env_from));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| (&container.env, &container.env_from));
    let in_environment = environments.chain(ephemeral).any(|(env, env_from)| {
        let keys = env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
        let wholes = env_from.iter().flatten().filter_map(|source| source.secret_ref.as_ref());
        keys.map(|key| &key.name).chain(wholes.map(|whole| &whole.name)).any(|name| name == wanted)
    });
    let mounted = spec.volumes.iter().flatten().any(|volume| {
        let references = [
            volume.cephfs.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.cinder.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.scale_io.as_ref().map(|source| &source.secret_ref),
            volume.csi.as_ref().and_then(|source| source.node_publish_secret_ref.as_ref()),
            volume.flex_volume.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.iscsi.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.rbd.as_ref().and_then(|source| source.secret_ref.as_ref()),
            volume.storageos.as_ref().and_then(|source| source.secret_ref.as_ref()),
        ];
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        volume.secret.as_ref().is_some_and(|source| source.secret_name.as_deref() == Some(wanted))
            || volume.azure_file.as_ref().is_some_and(|source| source.secret_name == wanted)
            || projected.filter_map(|source| source.secret.as_ref()).any(|source| source.name == wanted)
            || references.into_iter().flatten().any(|reference| reference.name == wanted)
    });
    in_environment || mounted || spec.image_pull_secrets.iter().flatten().any(|secret| secret.name == wanted)
}

impl Cleaner {
    fn is_used(&self, key: &ObjectKey) -> bool {
        self.pods.list_namespace(&key.namespace).iter().any(|pod| uses(pod, &key.name))
    }

    async fn is_tracked(&self, now: Timestamp) -> Result<bool, ReconcileError> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), NAMESPACE);
        let Some(map) = maps.get_opt(TRACKING).await? else { return Ok(false) };
        let since = map.data.as_ref().and_then(|data: &BTreeMap<_, _>| data.get(SINCE));
        Ok(since.is_some_and(|since| is_known(since, self.period, now)))
    }
}

impl Reconcile for Cleaner {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Next::Await) };
        let Some(account) = account_name(&secret) else { return Ok(Next::Await) };
        let (account, now) = (self.accounts.get(&ObjectKey::new(&key.namespace, account)), Timestamp::now());
        let plan = plan(&secret, account.as_deref(), self.period, now);
        if plan == Plan::Keep || !self.is_tracked(now).await? || self.is_used(key) {
            return Ok(Next::After(INTERVAL));
        }
        let api = Api::<Secret>::namespaced(self.client.clone(), &key.namespace);
        let outcome = match plan {
            Plan::Keep => Ok(()),
            Plan::Mark(since) => {
                tracing::info!(secret = %key, since, "unused token of an account marked as invalid");
                let patch = json!({"metadata": {"uid": secret.metadata.uid, "labels": {INVALID_SINCE: since}}});
                api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
            }
            Plan::Delete => {
                tracing::info!(secret = %key, "unused token of an account deleted");
                let preconditions =
                    Preconditions { uid: None, resource_version: secret.metadata.resource_version.clone() };
                api.delete(&key.name, &DeleteParams::default().preconditions(preconditions)).await.map(|_| ())
            }
        };
        match outcome {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            other => other?,
        }
        Ok(Next::After(INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

    fn secret(created: &str, labels: &serde_json::Value) -> Secret {
        serde_json::from_value(json!({"type": TYPE, "metadata": {
            "name": "builder-token-x", "namespace": "n", "creationTimestamp": format!("{created}T00:00:00Z"),
            "labels": labels, "annotations": {"kubernetes.io/service-account.name": "builder", ACCOUNT_UID: "u"}}}))
        .unwrap()
    }

    fn account(uid: &str, secrets: &[&str]) -> ServiceAccount {
        let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
        serde_json::from_value(json!({"metadata": {"name": "builder", "uid": uid}, "secrets": secrets})).unwrap()
    }

    #[test]
    fn tokens_that_nobody_uses_are_marked_and_then_deleted() {
        let now: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        let listed = account("u", &["other", "builder-token-x"]);
        let of = |secret: &Secret, account: Option<&ServiceAccount>| plan(secret, account, YEAR, now);
        let old = secret("2020-01-01", &json!({}));
        assert_eq!(of(&old, Some(&listed)), Plan::Mark("2026-06-15".into()));
        // Used a year ago or less, or nobody knows when.
        for (used, expected) in [
            ("2025-06-14", Plan::Mark("2026-06-15".into())),
            ("2025-06-15", Plan::Keep),
            ("2026-06-01", Plan::Keep),
            ("lately", Plan::Keep),
        ] {
            assert_eq!(of(&secret("2020-01-01", &json!({LAST_USED: used})), Some(&listed)), expected, "{used}");
        }
        for (since, expected) in [
            ("2025-06-14", Plan::Delete),
            ("2025-06-15", Plan::Keep),
            ("2026-06-01", Plan::Keep),
            ("lately", Plan::Mark("2026-06-15".into())),
        ] {
            assert_eq!(of(&secret("2020-01-01", &json!({INVALID_SINCE: since})), Some(&listed)), expected, "{since}");
        }
        // Somebody asked for it, it is another's, it is young, or there is no account.
        assert_eq!(of(&old, Some(&account("u", &["other"]))), Plan::Keep);
        assert_eq!(of(&old, Some(&account("v", &["builder-token-x"]))), Plan::Keep);
        assert_eq!(of(&secret("2026-01-01", &json!({})), Some(&listed)), Plan::Keep);
        assert_eq!(of(&old, None), Plan::Keep);
    }

    #[test]
    fn nothing_is_known_before_uses_were_written_down_for_long() {
        let now: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        assert!(is_known("2025-06-14", YEAR, now));
        assert!(!is_known("2025-06-15", YEAR, now));
        assert!(!is_known("", YEAR, now) && !is_known("long ago", YEAR, now));
    }

    #[test]
    fn what_pods_use_is_found() {
        let uses = |spec: serde_json::Value| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            uses(&pod, "s")
        };
        assert!(!uses(json!({"containers": [{"name": "c"}], "volumes": [{"name": "s", "emptyDir": {}}]})));
        assert!(uses(json!({"containers": [], "imagePullSecrets": [{"name": "s"}]})));
        assert!(uses(json!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]})));
        let env = json!([{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        assert!(uses(json!({"containers": [], "initContainers": [{"name": "c", "env": env}]})));
        for source in [
            json!({"name": "v", "secret": {"secretName": "s"}}),
            json!({"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}),
            json!({"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}}),
            json!({"name": "v", "azureFile": {"shareName": "a", "secretName": "s"}}),
        ] {
            assert!(uses(json!({"containers": [], "volumes": [source]})), "{source}");
        }
    }
}
