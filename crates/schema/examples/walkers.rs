//! How long the walkers take: `cargo run --release -p schema --example walkers`. The figures stand in the crate's
//! documentation.

use std::hint::black_box;
use std::time::Instant;

use schema::{Limits, builtin, decode, json, patch, protobuf};

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-5d8f9c7b6d-x2x9z","generateName":"web-5d8f9c7b6d-","namespace":"default","labels":{"app":"web","pod-template-hash":"5d8f9c7b6d"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-5d8f9c7b6d","uid":"7e2f2c9e-9f0b-4f0f-8d38-0f5f4a0e2a11","controller":true,"blockOwnerDeletion":true}]},"spec":{"volumes":[{"name":"kube-api-access-abcde","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],"containers":[{"name":"nginx","image":"nginx:latest","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"500m","memory":"128Mi"},"requests":{"cpu":"250m","memory":"64Mi"}},"volumeMounts":[{"name":"kube-api-access-abcde","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"readinessProbe":{"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"terminationMessagePath":"/dev/termination-log","imagePullPolicy":"Always"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","nodeName":"node","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"True","lastTransitionTime":"2024-01-01T00:00:00Z"}]}}"#;

#[expect(clippy::print_stdout, reason = "the figures are what an example is for")]
fn time(name: &str, mut work: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..500 {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() / 500.0);
    }
    println!("{name:<44} {:>8.2} us", best * 1e6);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let schema = builtin();
    time_once("read the table", start);
    let limits = Limits::default();
    let config_map = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"settings","namespace":"default","labels":{{"app":"web"}}}},"data":{{{}}}}}"#,
        (0..16).map(|index| format!(r#""key-{index:02}":"{}""#, "value ".repeat(8))).collect::<Vec<_>>().join(",")
    );
    for (name, kind, body) in [("ConfigMap", "ConfigMap", config_map.as_str()), ("Pod", "Pod", POD)] {
        let kind = schema.kind("", "v1", kind).ok_or("kind")?;
        let size = body.len();
        let object = decode(kind, body.as_bytes(), &limits)?.object.into_owned();
        let bytes = protobuf::encode(schema, &object)?;
        time(&format!("{name} of {size} bytes: parse"), || drop(black_box(json::parse(body.as_bytes(), &limits))));
        time(&format!("{name}: strict decoding"), || drop(black_box(decode(kind, body.as_bytes(), &limits))));
        time(&format!("{name}: serde_json to Value, to compare"), || {
            drop(black_box(serde_json::from_str::<serde_json::Value>(body)));
        });
        time(&format!("{name}: write JSON"), || drop(black_box(object.to_json())));
        time(&format!("{name}: protobuf to JSON bytes"), || {
            drop(black_box(protobuf::decode(schema, &bytes, None, &limits).map(|node| node.to_json())));
        });
        time(&format!("{name}: object to protobuf"), || drop(black_box(protobuf::encode(schema, &object))));
    }
    let pod = schema.kind("", "v1", "Pod").ok_or("kind")?;
    let original: serde_json::Value = serde_json::from_str(POD)?;
    let change = serde_json::json!({"spec":{"containers":[{"name":"nginx","image":"nginx:1.27"}]}});
    time("Pod: strategic merge patch of an image", || {
        drop(black_box(patch::strategic(pod, original.clone(), change.clone())));
    });
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are what an example is for")]
fn time_once(name: &str, start: Instant) {
    println!("{name:<44} {:>8.2} us", start.elapsed().as_secs_f64() * 1e6);
}
