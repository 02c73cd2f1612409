//! What the store costs: CPU for a commit, for an event and watcher, for a list, and memory. `bench [DIRECTORY]`;
//! without a directory nothing is kept on a disk. The figures are in the crate's documentation.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods, reason = "a program for developers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use engine::log::LogFactory;
use engine::memory::Memory;
use store::{Expect, Filter, HistoryLimits, Key, Resource, Store, StoreOptions, Template, Txn};

struct Meter {
    start: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Meter {
        Meter { start: Instant::now(), cpu: cpu() }
    }

    fn stop(&self, what: &str, ops: u64) {
        let (wall, cpu) = (self.start.elapsed(), cpu() - self.cpu);
        println!(
            "{what:<58} {:>10.0}/s {:>10.3} us CPU each",
            ops as f64 / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / ops as f64
        );
    }
}

/// Of all threads of the process.
fn cpu() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    time.into()
}

fn rss() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn key(number: u64) -> Key {
    Key::new(&format!("namespace-{}", number % 50), &format!("object-{number:07}")).unwrap()
}

fn value(len: usize) -> Template {
    Template::split(Bytes::from(vec![b'x'; len]), len / 3)
}

async fn put(store: &Store, resource: &Resource, number: u64, len: usize) {
    store.commit(Txn::new().put(resource, key(number), Expect::Any, value(len))).await.unwrap();
}

async fn puts(store: &Store, resource: &Resource, tasks: u64, each: u64, len: usize) {
    let tasks = (0..tasks).map(|task| {
        let (store, resource) = (store.clone(), resource.clone());
        tokio::spawn(async move {
            for number in 0..each {
                put(&store, &resource, task * each + number, len).await;
            }
        })
    });
    futures::future::join_all(tasks).await;
}

async fn commits(store: &Store) {
    let resource = store.resource("commits");
    for (tasks, each) in [(1, 3000), (16, 2000), (256, 200)] {
        let meter = Meter::start();
        puts(store, &resource, tasks, each, 1024).await;
        meter.stop(&format!("commit of 1 KB, {tasks} at a time"), tasks * each);
    }
}

async fn fan_out(store: &Store, watchers: u64, events: u64, filter: impl Fn(u64) -> Filter, what: &str) {
    let resource = store.resource(&format!("fan-out-{what}-{watchers}"));
    let delivered = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..watchers)
        .map(|number| {
            let mut watch = resource.watch(store.revision(), filter(number)).unwrap();
            let delivered = Arc::clone(&delivered);
            tokio::spawn(async move {
                while let Ok(event) = watch.next().await {
                    delivered.fetch_add(event.entry().bytes().len().min(1) as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let meter = Meter::start();
    for number in 0..events {
        // One at a time: every event wakes everybody.
        put(store, &resource, number % 50, 1024).await;
    }
    let expected = if what == "all" { events * watchers } else { 0 };
    while delivered.load(Ordering::Relaxed) < expected {
        tokio::task::yield_now().await;
    }
    meter.stop(&format!("{watchers} watchers ({what}), per event and watcher"), events * watchers);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn lists(store: &Store) {
    let resource = store.resource("lists");
    puts(store, &resource, 50, 200, 1500).await;
    let rounds = 100;
    let meter = Meter::start();
    for _ in 0..rounds {
        let bytes: usize = resource.snapshot().iter().map(|entry| entry.bytes().len()).sum();
        assert!(bytes > 15_000_000);
    }
    meter.stop("list of 10,000 objects, walking", rounds);
    let meter = Meter::start();
    for _ in 0..rounds {
        let mut out = BytesMut::with_capacity(64 << 10);
        for entry in resource.snapshot().iter() {
            if out.len() + entry.bytes().len() > 64 << 10 {
                out.clear();
            }
            out.extend_from_slice(entry.bytes());
            out.extend_from_slice(b",");
        }
    }
    meter.stop("list of 10,000 objects, 15 MB through a buffer of 64 KB", rounds);
    let meter = Meter::start();
    for number in 0..1_000_000 {
        assert!(resource.snapshot().get(&key(number % 200)).is_some());
    }
    meter.stop("snapshot and get (the key made anew)", 1_000_000);
    let past = store.revision();
    puts(store, &resource, 1, 1000, 1500).await;
    let meter = Meter::start();
    for _ in 0..1000 {
        assert_eq!(resource.snapshot_at(past).unwrap().len(), 10_000);
    }
    meter.stop("snapshot 1,000 revisions back", 1000);
}

async fn memory(store: &Store) {
    let before = rss();
    let resource = store.resource("memory");
    puts(store, &resource, 100, 1000, 1024).await;
    let each = (rss() - before) / 100_000;
    println!("100,000 objects of 1,024 bytes: {each} bytes each, history and engine included");
    let before = rss();
    let watches: Vec<_> =
        (0..100_000).map(|_| resource.watch(store.revision(), Filter::in_namespace("namespace-1")).unwrap()).collect();
    println!("an idle watch: {} bytes", (rss() - before) / watches.len() as u64);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let options = StoreOptions {
        history: HistoryLimits { age: Duration::from_secs(300), ..HistoryLimits::default() },
        ..StoreOptions::default()
    };
    let memory_engine = Memory::new();
    let open = || match std::env::args().nth(1) {
        Some(directory) => Store::open(LogFactory::new(directory), options.clone()).unwrap(),
        None => Store::open(memory_engine.clone(), options.clone()).unwrap(),
    };
    let store = open();
    commits(&store).await;
    fan_out(&store, 100, 3000, |_| Filter::all(), "all").await;
    fan_out(&store, 5000, 200, |_| Filter::all(), "all").await;
    fan_out(&store, 5000, 200, |number| Filter::in_namespace("other").named(&number.to_string()), "others").await;
    lists(&store).await;
    memory(&store).await;
    let (before, wall) = (cpu(), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    println!("idle for {:?}: {:?} CPU", wall.elapsed(), cpu() - before);
    store.shutdown().await.unwrap();
    let objects: usize = store.resources().iter().map(|resource| resource.snapshot().len()).sum();
    drop(store);
    let meter = Meter::start();
    let store = open();
    meter.stop(&format!("opening with {objects} objects, per object"), objects as u64);
    store.shutdown().await.unwrap();
}
