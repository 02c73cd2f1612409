//! What compiling and evaluating takes: `cargo run --release -p cel --example speed`.

#![expect(clippy::print_stdout, reason = "a measurement prints what it measured")]

use std::{hint::black_box, time::Instant};

use cel::{Env, Mode, PER_CALL_LIMIT, Type, Value};
use serde_json::json;

const EXPRESSIONS: &[&str] = &[
    "object.spec.replicas <= 5",
    "has(object.metadata.labels) && object.metadata.labels['app'] == 'web'",
    "object.spec.containers.all(c, c.image.startsWith('registry.example.com/'))",
    "object.spec.containers.all(c, has(c.resources) && 'memory' in c.resources.limits)",
    "object.spec.containers.map(c, c.name).filter(n, n.matches('^[a-z]+-[0-9]$')).size() == 8",
    "quantity(object.spec.containers[0].resources.limits.memory).isLessThan(quantity('1Gi'))",
    "object.metadata.name in ['a', 'b', 'c', 'web']",
];

fn main() {
    let containers: Vec<_> = (0..8)
        .map(|number| {
            json!({
                "name": format!("c-{number}"),
                "image": format!("registry.example.com/team/app:{number}"),
                "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}},
            })
        })
        .collect();
    let object = json!({
        "metadata": {"name": "web", "labels": {"app": "web", "tier": "front"}},
        "spec": {"replicas": 3, "containers": containers},
    });
    let env = Env::new(Mode::NewExpressions).with("object", Type::Dyn);
    let variables = [("object", Value::json(&object))];
    for text in EXPRESSIONS {
        let start = Instant::now();
        let compiled = 200;
        for _ in 0..compiled {
            black_box(env.compile(black_box(text))).ok();
        }
        let compile = start.elapsed() / compiled;
        let Ok(program) = env.compile(text) else { continue };
        let start = Instant::now();
        let evaluated = 100_000;
        for _ in 0..evaluated {
            black_box(program.eval(&variables.as_slice(), PER_CALL_LIMIT)).result.ok();
        }
        let evaluate = start.elapsed() / evaluated;
        println!("{compile:>10.1?} compile {evaluate:>10.1?} evaluate  {text}");
    }
}
