//! How long a store of many small objects takes to open, and what each takes in memory.
//! `restart DIRECTORY [OBJECTS [BYTES]]`: fills the directory the first time, then opens it. Figures: docs/SPECIFICATION.md.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods, reason = "a program for developers")]

use std::time::Instant;

use bytes::Bytes;
use engine::Revision;
use engine::transfer::Contents;
use store::{Store, StoreOptions, Template};

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn object(number: u64, bytes: usize) -> Template {
    let head = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":""#;
    let start = format!(
        r#"","creationTimestamp":"2026-01-01T00:00:00Z","name":"object-{number:07}","namespace":"namespace-{:03}","uid":"0aa8ceed-301c-4bca-83cb-{number:012x}"}},"data":{{"k":""#,
        number % 500
    );
    let fill = "x".repeat(bytes.saturating_sub(head.len() + start.len() + 10));
    Template { head: Bytes::from_static(head.as_bytes()), tail: Bytes::from(format!(r#"{start}{fill}"}}}}"#)) }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = std::path::PathBuf::from(arguments.next().unwrap());
    let objects: u64 = arguments.next().map_or(1_000_000, |count| count.parse().unwrap());
    let bytes: usize = arguments.next().map_or(320, |bytes| bytes.parse().unwrap());
    if !directory.exists() {
        let record = |number: u64| engine::Record {
            resource: "configmaps".into(),
            path: format!("namespace-{:03}/object-{number:07}", number % 500).into(),
            value: object(number, bytes),
            created: Revision(number + 1),
            modified: Revision(number + 1),
        };
        let mut records: Vec<_> = (0..objects).map(record).collect();
        records.sort_by(|one, other| one.path.cmp(&other.path));
        let contents = Contents { revision: Revision(objects), records };
        contents.into_log(&directory, contents.revision).unwrap();
        println!("filled; run it again to measure");
        return;
    }
    let before = resident();
    let start = Instant::now();
    let store = Store::open(engine::log::LogFactory::new(&directory), StoreOptions::default()).unwrap();
    let took = start.elapsed();
    let snapshot = store.resource("configmaps").snapshot();
    assert!(!snapshot.is_empty(), "{} holds no objects; name a directory that is not there yet", directory.display());
    let encoded: usize = snapshot.iter().map(|entry| entry.bytes().len()).sum();
    let each = (resident() - before) / snapshot.len() as u64;
    println!("{} objects of {} bytes each", snapshot.len(), encoded / snapshot.len());
    println!("open in {took:?}");
    println!(
        "{each} bytes of memory each, {:.2} times what is encoded",
        each as f64 * snapshot.len() as f64 / encoded as f64
    );
}
