//! A container's environment from its spec, the pod, and the objects it refers to. Pure: the caller has fetched
//! the objects. Upstream: pkg/kubelet/kubelet_pods.go `makeEnvironmentVariables`, pkg/kubelet/envvars,
//! third_party/forked/golang/expansion.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apimachinery::Quantity;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use crate::qos;

/// Objects of the pod's namespace, by name. An absent entry is an object that does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub config_maps: HashMap<String, Arc<ConfigMap>>,
    pub secrets: HashMap<String, Arc<Secret>>,
}

/// What the node and the sandbox contribute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub node_name: String,
    pub pod_ips: Vec<String>,
    pub host_ips: Vec<String>,
    /// Stands for limits that a container does not set.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// Why an environment (or a file of the downward API) cannot be made; the text is the container's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvError {
    #[error("configmap {0:?} not found")]
    NoConfigMap(String),
    #[error("secret {0:?} not found")]
    NoSecret(String),
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey { kind: &'static str, namespace: String, name: String, key: String },
    #[error("unsupported fieldPath: {0}")]
    FieldPath(String),
    #[error("unsupported container resource: {0}")]
    Resource(String),
    #[error("invalid container {0:?}")]
    Container(String),
}

/// The objects a container's environment needs: config maps and secrets, by name.
pub(crate) fn references(container: &Container) -> (Vec<String>, Vec<String>) {
    let mut config_maps = Vec::new();
    let mut secrets = Vec::new();
    for source in container.env_from.iter().flatten() {
        config_maps.extend(source.config_map_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
    }
    (config_maps, secrets)
}

/// The environment, in an order in which later entries could refer to earlier ones.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    objects: &Objects,
    services: &[Arc<Service>],
) -> Result<Vec<(String, String)>, EnvError> {
    let mut service_env = service_environment(pod, services);
    let mut env = Ordered::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match objects.config_maps.get(&reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        env.set(format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError::NoConfigMap(reference.name.clone())),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match objects.secrets.get(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        env.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(EnvError::NoSecret(reference.name.clone())),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => {
                expand(value, |name| env.get(name).or_else(|| service_env.get(name)).map(str::to_owned))
            }
            (_, Some(source)) => match from_source(pod, container, source, facts, objects)? {
                Some(value) => value,
                None => continue,
            },
            _ => String::new(),
        };
        service_env.remove(&variable.name);
        env.set(variable.name.clone(), value);
    }
    for (name, value) in service_env.entries {
        if env.get(&name).is_none() {
            env.set(name, value);
        }
    }
    // A name with `=` or NUL cannot be an environment variable of any process.
    let usable = |name: &str, value: &str| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
    Ok(env.entries.into_iter().filter(|(name, value)| usable(name, value)).collect())
}

/// A value from somewhere else; `None` where an optional source is absent.
fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    facts: &Facts,
    objects: &Objects,
) -> Result<Option<String>, EnvError> {
    let namespace = || pod.metadata.namespace.clone().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return field_value(pod, &field.field_path, facts).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        let target = match resource.container_name.as_deref() {
            None | Some("") => container,
            Some(name) => find_container(pod, name).ok_or_else(|| EnvError::Container(name.to_owned()))?,
        };
        return resource_value(
            target,
            &resource.resource,
            resource.divisor.as_ref().map(|divisor| divisor.0.as_str()),
            facts,
        )
        .map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(map) = objects.config_maps.get(&reference.name) else {
            return if optional { Ok(None) } else { Err(EnvError::NoConfigMap(reference.name.clone())) };
        };
        return match map.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(EnvError::NoKey {
                kind: "ConfigMap",
                namespace: namespace(),
                name: reference.name.clone(),
                key: reference.key.clone(),
            }),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(secret) = objects.secrets.get(&reference.name) else {
            return if optional { Ok(None) } else { Err(EnvError::NoSecret(reference.name.clone())) };
        };
        return match secret.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(EnvError::NoKey {
                kind: "Secret",
                namespace: namespace(),
                name: reference.name.clone(),
                key: reference.key.clone(),
            }),
        };
    }
    Ok(Some(String::new()))
}

/// A container of the pod by name, of any kind but ephemeral.
pub(crate) fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|container| container.name == name)
}

/// A field of the pod for `fieldRef`.
pub(crate) fn field_value(pod: &Pod, path: &str, facts: &Facts) -> Result<String, EnvError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let subscript = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default()
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => map_lines(&meta.labels),
        "metadata.annotations" => map_lines(&meta.annotations),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_else(|| facts.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "spec.restartPolicy" => spec.and_then(|spec| spec.restart_policy.clone()).unwrap_or_default(),
        "spec.schedulerName" => spec.and_then(|spec| spec.scheduler_name.clone()).unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => {
            let inner = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.strip_suffix("']"));
            if let Some(key) = inner("metadata.labels['") {
                subscript(&meta.labels, key)
            } else if let Some(key) = inner("metadata.annotations['") {
                subscript(&meta.annotations, key)
            } else {
                return Err(EnvError::FieldPath(path.to_owned()));
            }
        }
    })
}

/// A map as lines of `key="value"`. Upstream: pkg/fieldpath `FormatMap`.
fn map_lines(map: &Option<BTreeMap<String, String>>) -> String {
    let lines: Vec<_> = map.iter().flatten().map(|(key, value)| format!("{key}={}", go_quote(value))).collect();
    lines.join("\n")
}

/// A string in Go's `%q` form.
fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// A container's resource for `resourceFieldRef`, divided and rounded up.
pub(crate) fn resource_value(
    container: &Container,
    resource: &str,
    divisor: Option<&str>,
    facts: &Facts,
) -> Result<String, EnvError> {
    let unsupported = || EnvError::Resource(resource.to_owned());
    let (kind, name) = resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.as_ref();
    let mut quantity = match kind {
        "limits" => qos::limit(resources, name),
        "requests" => qos::amount(resources.and_then(|resources| resources.requests.as_ref()), name),
        _ => return Err(unsupported()),
    };
    if kind == "limits" && quantity.is_zero() && matches!(name, "cpu" | "memory" | "ephemeral-storage") {
        quantity = facts.allocatable.get(name).copied().unwrap_or(Quantity::ZERO);
    }
    let divisor: Quantity = divisor.and_then(|text| text.parse().ok()).unwrap_or(Quantity::ZERO);
    let divisor = if divisor.is_zero() { Quantity::from_millis(1000) } else { divisor };
    let (value, by) = if name == "cpu" {
        (quantity.milli_value(), divisor.milli_value())
    } else {
        (quantity.value(), divisor.value())
    };
    let by = by.max(1);
    Ok((value / by + i64::from(value % by > 0)).to_string())
}

/// Replaces `$(NAME)` by the variable's value; `$$` stands for `$`; an unknown name is left as it is.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        out.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        match rest.as_bytes().first() {
            Some(b'$') => {
                out.push('$');
                rest = &rest[1..];
            }
            Some(b'(') => match rest.find(')') {
                Some(end) => {
                    let name = &rest[1..end];
                    match lookup(name) {
                        Some(value) => out.push_str(&value),
                        None => {
                            out.push_str("$(");
                            out.push_str(name);
                            out.push(')');
                        }
                    }
                    rest = &rest[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = &rest[1..];
                }
            },
            _ => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

/// Expands a command or its arguments from a finished environment.
pub(crate) fn expand_all(list: &Option<Vec<String>>, env: &[(String, String)]) -> Vec<String> {
    let lookup = |name: &str| env.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    list.iter().flatten().map(|text| expand(text, lookup)).collect()
}

/// The variables that tell a container of the services in its namespace.
fn service_environment(pod: &Pod, services: &[Arc<Service>]) -> Ordered {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let (own_namespace, name) =
            (service.metadata.namespace.as_deref(), service.metadata.name.as_deref().unwrap_or_default());
        let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
        if ip.is_empty() || ip == "None" {
            continue;
        }
        if own_namespace == Some(namespace) && links {
            chosen.insert(name, service);
        } else if own_namespace == Some("default") && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        }
    }
    let mut env = Ordered::default();
    for (name, service) in chosen {
        let Some(spec) = &service.spec else { continue };
        let ip = spec.cluster_ip.as_deref().unwrap_or_default();
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        let ports = spec.ports.as_deref().unwrap_or_default();
        let prefix = name.to_uppercase().replace('-', "_");
        env.set(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
        if let Some(first) = ports.first() {
            env.set(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
        }
        for port in ports {
            if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                env.set(
                    format!("{prefix}_SERVICE_PORT_{}", name.to_uppercase().replace('-', "_")),
                    port.port.to_string(),
                );
            }
        }
        for (position, port) in ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let lower = protocol.to_lowercase();
            let url = format!("{lower}://{host}:{}", port.port);
            if position == 0 {
                env.set(format!("{prefix}_PORT"), url.clone());
            }
            let stem = format!("{prefix}_PORT_{}_{protocol}", port.port);
            env.set(stem.clone(), url);
            env.set(format!("{stem}_PROTO"), lower);
            env.set(format!("{stem}_PORT"), port.port.to_string());
            env.set(format!("{stem}_ADDR"), ip.to_owned());
        }
    }
    env
}

/// A map that remembers in which order names came.
#[derive(Debug, Default)]
struct Ordered {
    entries: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Ordered {
    fn set(&mut self, name: String, value: String) {
        match self.places.get(&name) {
            Some(place) => self.entries[*place].1 = value,
            None => {
                self.places.insert(name.clone(), self.entries.len());
                self.entries.push((name, value));
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.entries[*place].1.as_str())
    }

    fn remove(&mut self, name: &str) {
        if let Some(place) = self.places.remove(name) {
            self.entries.remove(place);
            for other in self.places.values_mut().filter(|other| **other > place) {
                *other -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use serde_json::json;

    fn render(pod: serde_json::Value, objects: &Objects, services: &[Arc<Service>]) -> String {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let facts = Facts {
            node_name: "node".to_owned(),
            pod_ips: vec!["10.42.0.5".to_owned()],
            host_ips: vec!["192.0.2.1".to_owned()],
            allocatable: BTreeMap::from([("memory".to_owned(), "2Gi".parse().unwrap())]),
        };
        match environment(&pod, &pod.spec.as_ref().unwrap().containers[0], &facts, objects, services) {
            Ok(env) => env.iter().map(|(name, value)| format!("{name}={value}\n")).collect(),
            Err(error) => format!("error: {error}"),
        }
    }

    fn pod(container: serde_json::Value) -> serde_json::Value {
        json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a": "b"}}, "spec": {"containers": [container]}})
    }

    #[test]
    fn values_refer_to_earlier_ones() {
        let env = json!([
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$$(A)-$(NONE)-$x"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}}]);
        let container = json!({"name": "c", "env": env, "resources": {"requests": {"cpu": "1500m"}}});
        expect![[r#"
            A=1
            B=1-$(A)-$(NONE)-$x
            IP=10.42.0.5
            LABEL=b
            MEM=2048
            CPU=2
        "#]]
        .assert_eq(&render(pod(container), &Objects::default(), &[]));
    }

    #[test]
    fn services_are_announced_unless_overridden() {
        let service: Service = serde_json::from_value(json!({"metadata": {"name": "my-web", "namespace": "ns"},
            "spec": {"clusterIP": "10.43.0.9", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}}))
        .unwrap();
        let container = json!({"name": "c", "env": [{"name": "MY_WEB_PORT", "value": "mine"}]});
        expect![[r#"
            MY_WEB_PORT=mine
            MY_WEB_SERVICE_HOST=10.43.0.9
            MY_WEB_SERVICE_PORT=80
            MY_WEB_SERVICE_PORT_HTTP=80
            MY_WEB_PORT_80_TCP=tcp://10.43.0.9:80
            MY_WEB_PORT_80_TCP_PROTO=tcp
            MY_WEB_PORT_80_TCP_PORT=80
            MY_WEB_PORT_80_TCP_ADDR=10.43.0.9
        "#]]
        .assert_eq(&render(pod(container), &Objects::default(), &[Arc::new(service)]));
    }

    #[test]
    fn missing_objects_are_named() {
        let from = |source: serde_json::Value| {
            render(pod(json!({"name": "c", "env": [{"name": "A", "valueFrom": source}]})), &objects(), &[])
        };
        assert_eq!(from(json!({"secretKeyRef": {"name": "s", "key": "k"}})), "error: secret \"s\" not found");
        assert_eq!(
            from(json!({"configMapKeyRef": {"name": "m", "key": "no"}})),
            "error: couldn't find key no in ConfigMap ns/m"
        );
        assert_eq!(from(json!({"configMapKeyRef": {"name": "m", "key": "no", "optional": true}})), "");
        assert_eq!(from(json!({"configMapKeyRef": {"name": "m", "key": "k"}})), "A=v\n");
    }

    #[test]
    fn whole_maps_with_prefix() {
        let container = json!({"name": "c", "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}], "env": [{"name": "P_k", "value": "own"}]});
        assert_eq!(render(pod(container), &objects(), &[]), "P_k=own\n");
    }

    fn objects() -> Objects {
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"k": "v"}})).unwrap();
        Objects { config_maps: HashMap::from([("m".to_owned(), Arc::new(map))]), secrets: HashMap::new() }
    }
}
