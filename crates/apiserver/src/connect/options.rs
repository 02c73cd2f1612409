//! A stream's query as the options object that admission sees. Upstream: `PodExecOptions` and its siblings, which are the
//! object of a CONNECT.

use registry::{DynamicObject, Subresource};
use serde_json::{Map, Value};

use crate::server::Call;

/// The query's parameters by the types that the options have. None: the subresource declares no options.
pub(super) fn of(call: &Call, subresource: Subresource) -> Option<DynamicObject> {
    let body = subresource.body?;
    let mut fields = Map::new();
    let mut flag = |name: &str| {
        if call.flag(name) {
            fields.insert(name.to_owned(), true.into());
        }
    };
    match body.kind {
        "PodExecOptions" | "PodAttachOptions" => {
            ["stdin", "stdout", "stderr", "tty"].into_iter().for_each(&mut flag);
            text(call, "container", &mut fields);
            let command: Vec<Value> = values(call, "command").map(Value::from).collect();
            if !command.is_empty() {
                fields.insert("command".to_owned(), command.into());
            }
        }
        "PodPortForwardOptions" => {
            let ports = values(call, "ports").flat_map(|ports| ports.split(','));
            let ports: Vec<Value> = ports.filter_map(|port| port.parse::<i32>().ok()).map(Value::from).collect();
            if !ports.is_empty() {
                fields.insert("ports".to_owned(), ports.into());
            }
        }
        _ if call.info.rest.is_empty() => {}
        _ => {
            fields.insert("path".to_owned(), call.info.rest.as_str().into());
        }
    }
    let api_version =
        if body.group.is_empty() { body.version.to_owned() } else { format!("{}/{}", body.group, body.version) };
    Some(DynamicObject { api_version, kind: body.kind.to_owned(), fields, ..DynamicObject::default() })
}

fn values<'a>(call: &'a Call, name: &'a str) -> impl Iterator<Item = &'a str> {
    call.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn text(call: &Call, name: &str, fields: &mut Map<String, Value>) {
    if let Some(value) = values(call, name).find(|value| !value.is_empty()) {
        fields.insert(name.to_owned(), value.into());
    }
}
