//! What ownership costs a write, in microseconds on one core. Run it with `--release`.

use std::time::Duration;

use fieldmanager::{Filter, Managed, Operation, TypeRef, TypedValue, Versions};
use schema::{Limits, Node, builtin};

struct OneVersion(TypeRef<'static>, Filter);

impl Versions for OneVersion {
    fn kind_in(&self, _version: &str) -> Option<TypeRef<'_>> {
        Some(self.0)
    }

    fn literal(&self) -> bool {
        false
    }

    fn convert(&self, object: &Node<'_>, _from: &str, _to: &str) -> Result<Node<'static>, String> {
        Ok(object.clone().into_owned())
    }

    fn filter_in(&self, _version: &str) -> &Filter {
        &self.1
    }
}

fn typed<'a>(kind: TypeRef<'a>, json: &'a str) -> TypedValue<'a> {
    let node = schema::json::parse(json.as_bytes(), &Limits::TRUSTED).unwrap_or(Node::Null);
    TypedValue::of_struct(kind, node)
}

/// One write as the registry does it: parse what changed, compare, tell the owners, print them.
fn write(versions: &OneVersion, live: &str, new: &str, list: &str) -> Vec<u8> {
    let managed = schema::json::parse(list.as_bytes(), &Limits::TRUSTED).ok();
    let managed = managed.and_then(|list| Managed::parse(&list).ok()).unwrap_or_default();
    let now = "2026-01-02T03:04:05Z";
    let operation = Operation { manager: "bench", subresource: "", api_version: "v1", now, versions };
    let mut compare = |_: &str| typed(versions.0, live).compare(&typed(versions.0, new)).map(Some);
    operation.update(managed, list.is_empty(), &mut compare).map(|managed| managed.to_json()).unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "the figures are what an example is for")]
fn time(name: &str, run: impl Fn() -> Vec<u8>) -> String {
    const ROUNDS: u32 = 20_000;
    let out = run();
    let start = on_cpu();
    for _ in 0..ROUNDS {
        std::hint::black_box(run());
    }
    let each = on_cpu().saturating_sub(start).as_secs_f64() * 1e6 / f64::from(ROUNDS);
    println!("{name}: {each:.1} us, {} bytes of entries", out.len());
    String::from_utf8(out).unwrap_or_default()
}

/// Time that this thread was on a core: what others do at the same time does not count.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

fn main() {
    let kind = |name: &str| builtin().kind("", "v1", name).map(TypeRef::Named).unwrap_or(TypeRef::Deduced);
    let versions = OneVersion(kind("ConfigMap"), Filter::Everything);
    let data = "x".repeat(120);
    let map = |last: &str| {
        let keys: Vec<String> = (0..7).map(|index| format!("\"key{index}\":\"{data}\"")).collect();
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a","namespace":"b"}},"data":{{{},"last":"{last}"}}}}"#,
            keys.join(",")
        )
    };
    let (one, two) = (map("1"), map("2"));
    let list = time("create a ConfigMap of 1 KB", || write(&versions, "{}", &one, ""));
    // The registry leaves out what has the same bytes.
    let part = |last: &str| format!(r#"{{"data":{{"last":"{last}"}}}}"#);
    let (left, right) = (part("1"), part("2"));
    time("change one key of it", || write(&versions, &left, &right, &list));
    time("change one key of it, looking at all", || write(&versions, &one, &two, &list));

    let versions = OneVersion(kind("Pod"), Filter::exclude([["status"].as_slice()]));
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"b","labels":{"app":"web","tier":"front"}},"spec":{"containers":[{"name":"main","image":"registry/image:1","imagePullPolicy":"IfNotPresent","ports":[{"containerPort":8080,"protocol":"TCP"}],"resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"100m","memory":"128Mi"}},"env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}"#;
    let list = time("create a Pod", || write(&versions, "{}", pod, ""));
    let (left, right) = (r#"{"metadata":{"labels":{"app":"web"}}}"#, r#"{"metadata":{"labels":{"app":"other"}}}"#);
    time("change one label of it", || write(&versions, left, right, &list));
}
