//! The cluster that is measured: a client, and the processes that are it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::Duration,
};

use anyhow::Context as _;
use kube::{
    Api, Client, Config,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::Arguments;

/// How long a case may wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Target {
    pub(crate) client: Client,
    config: Config,
    pids: Vec<i32>,
}

/// CPU time and memory of the server's processes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds of CPU, user and system.
    pub(crate) cpu_seconds: f64,
    /// Proportional set size, bytes.
    pub(crate) memory: f64,
}

impl Target {
    pub(crate) async fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        let mut config = match &arguments.kubeconfig {
            Some(path) => {
                let kubeconfig = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
            }
            None => Config::infer().await?,
        };
        config.read_timeout = Some(PATIENCE);
        Ok(Self { client: Client::try_from(config.clone())?, config, pids: arguments.pids.clone() })
    }

    /// A client with a connection of its own, as another program would have.
    pub(crate) fn another_client(&self) -> anyhow::Result<Client> {
        Ok(Client::try_from(self.config.clone())?)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether CPU and memory can be told.
    pub(crate) fn has_processes(&self) -> bool {
        !self.pids.is_empty()
    }

    /// A client that is another user.
    pub(crate) fn client_as(&self, identity: AuthInfo) -> anyhow::Result<Client> {
        let mut config = self.config.clone();
        config.auth_info = identity;
        Ok(Client::try_from(config)?)
    }

    /// The administrator's credentials, to act as others with.
    pub(crate) fn identity(&self) -> AuthInfo {
        self.config.auth_info.clone()
    }

    /// Resident memory now, bytes, of the processes themselves without their children. From here on the peak is new.
    pub(crate) fn begin_peak(&self) -> anyhow::Result<f64> {
        for pid in &self.pids {
            fs::write(format!("/proc/{pid}/clear_refs"), "5").with_context(|| format!("reset the peak of {pid}"))?;
        }
        self.status("VmRSS:")
    }

    /// The most resident memory since then, bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<f64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for pid in &self.pids {
            let status =
                fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("status of {pid}"))?;
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
            let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap_or_default();
            sum += kib * 1024.0;
        }
        Ok(sum)
    }

    /// What the processes have used so far. Children that ended are counted by their parents.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for pid in self.family()? {
            // A process that ended meanwhile is no error.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            usage.cpu_seconds += cpu_seconds(&stat).with_context(|| format!("/proc/{pid}/stat"))?;
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            usage.memory += rollup.lines().find_map(pss_bytes).unwrap_or(0.0);
        }
        Ok(usage)
    }

    /// The processes and all their descendants.
    fn family(&self) -> anyhow::Result<HashSet<i32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc").context("list processes")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if let Some(parent) = fields(&stat).and_then(|fields| fields.get(1)?.parse::<i32>().ok()) {
                parents.push((pid, parent));
            }
        }
        let mut family: HashSet<i32> = self.pids.iter().copied().collect();
        loop {
            let before = family.len();
            family.extend(
                parents.iter().filter(|(_, parent)| family.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
            );
            if family.len() == before {
                return Ok(family);
            }
        }
    }

    /// Makes a namespace for a case and waits until pods can be created in it.
    pub(crate) async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespaces = objects(self.client.clone(), None, "namespaces", "Namespace");
        let namespace = object(json!({"metadata": {"name": name}}))?;
        match namespaces.create(&PostParams::default(), &namespace).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => return Err(error).with_context(|| format!("create namespace {name}")),
        }
        let accounts = objects(self.client.clone(), Some(name), "serviceaccounts", "ServiceAccount");
        let made = wait(&accounts, "metadata.name=default", |known| !known.is_empty());
        tokio::time::timeout(PATIENCE, made).await.context("wait for the default service account")??;
        Ok(())
    }

    /// Removes a case's namespace with everything in it, and waits until it has gone.
    pub(crate) async fn remove_namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespaces = objects(self.client.clone(), None, "namespaces", "Namespace");
        match namespaces.delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("delete namespace {name}")),
        }
        let fields = format!("metadata.name={name}");
        let gone = wait(&namespaces, &fields, HashMap::is_empty);
        tokio::time::timeout(PATIENCE, gone)
            .await
            .with_context(|| format!("wait until namespace {name} has gone"))??;
        Ok(())
    }
}

/// Objects of a kind without a type of their own: the benchmark looks at few fields, and decoding every kind once more
/// would make the program larger for nothing.
pub(crate) fn objects(client: Client, namespace: Option<&str>, plural: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    }
}

/// An object from JSON.
pub(crate) fn object(value: Value) -> anyhow::Result<DynamicObject> {
    Ok(serde_json::from_value(value)?)
}

/// Follows objects until the set of them by name satisfies `enough`.
pub(crate) async fn wait(
    objects: &Api<DynamicObject>,
    fields: &str,
    enough: impl Fn(&HashMap<String, DynamicObject>) -> bool,
) -> anyhow::Result<()> {
    use futures::TryStreamExt as _;
    use kube::api::{ListParams, WatchEvent, WatchParams};
    loop {
        let list = objects.list(&ListParams::default().fields(fields)).await?;
        let version = list.metadata.resource_version.clone().unwrap_or_default();
        let name = |object: &DynamicObject| object.metadata.name.clone().unwrap_or_default();
        let mut known: HashMap<String, DynamicObject> = list.items.into_iter().map(|o| (name(&o), o)).collect();
        if enough(&known) {
            return Ok(());
        }
        let events = objects.watch(&WatchParams::default().fields(fields), &version).await?;
        futures::pin_mut!(events);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    known.insert(name(&object), object);
                }
                WatchEvent::Deleted(object) => {
                    known.remove(&name(&object));
                }
                WatchEvent::Bookmark(_) => {}
                // Too old: list again.
                WatchEvent::Error(_) => break,
            }
            if enough(&known) {
                return Ok(());
            }
        }
    }
}

/// Whether a pod's containers run.
pub(crate) fn is_running(pod: &DynamicObject) -> bool {
    pod.data.pointer("/status/phase").is_some_and(|phase| phase == "Running")
}

/// Whether a pod serves.
pub(crate) fn is_ready(pod: &DynamicObject) -> bool {
    let conditions = pod.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether a pod has a node.
pub(crate) fn is_bound(pod: &DynamicObject) -> bool {
    pod.data.pointer("/spec/nodeName").is_some()
}

/// The fields of `/proc/<pid>/stat` behind the name, which may itself contain anything.
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect())
}

/// User and system time, of the process and of its children that ended.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields = fields(stat)?;
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    // Clock ticks are a hundredth of a second for every user-visible interface of Linux.
    Some(ticks / 100.0)
}

fn pss_bytes(line: &str) -> Option<f64> {
    let rest = line.strip_prefix("Pss:")?;
    rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "12 (a b) c) S 7 1 1 0 -1 4194560 1 2 3 4 100 50 25 25 20 0 9 0 100 0 0";
        assert_eq!(fields(stat).unwrap()[1], "7");
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(pss_bytes("Pss:                2048 kB"), Some(2_097_152.0));
        assert_eq!(pss_bytes("Pss_Anon: 1 kB"), None);
    }
}
