//! Measures an engine: group commit, bytes written, recovery, memory. `measure ENGINE DIRECTORY`, where the engine is
//! `log`. The figures are in docs/adr/0001-embedded-engine.md.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for developers")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{
    Durability, Engine, Expected, Factory, Mutation, OpenReason, Record, Restore, Revision, Template, Transaction,
};

#[derive(Default)]
struct Kept {
    records: Vec<Record>,
    bytes: usize,
    count: usize,
    keep: bool,
}

impl Restore for Kept {
    fn live(&mut self, record: Record) {
        self.put(record);
    }
    fn base(&mut self, _revision: Revision) {}
    fn put(&mut self, record: Record) {
        self.bytes += record.value.len();
        self.count += 1;
        if self.keep {
            self.records.push(record);
        }
    }
    fn delete(&mut self, _resource: &str, _path: &str, _revision: Revision) {}
    fn gap(&mut self, _upto: Revision) {}
}

struct Meter {
    start: Instant,
    cpu: Duration,
    device: u64,
    process: u64,
}

impl Meter {
    fn start() -> Meter {
        Meter { start: Instant::now(), cpu: cpu(), device: device_bytes(), process: process_bytes() }
    }

    fn stop(&self, what: &str, transactions: u64, payload: u64) {
        let (wall, cpu) = (self.start.elapsed(), cpu() - self.cpu);
        let device = device_bytes() - self.device;
        let process = process_bytes() - self.process;
        println!(
            "{what:<34} {:>9.0} txn/s {:>8.1} us CPU/txn {:>8.2} x device {:>8.2} x process {:>8.2} s",
            transactions as f64 / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / transactions as f64,
            device as f64 / payload as f64,
            process as f64 / payload as f64,
            wall.as_secs_f64(),
        );
    }
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    // Of all threads: each has its own line under task.
    let mut nanos: u64 = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path().join("schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    drop(stat);
    Duration::from_nanos(nanos)
}

fn device_bytes() -> u64 {
    let stat = std::fs::read_to_string("/sys/block/vda/stat").unwrap_or_default();
    stat.split_whitespace().nth(6).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * 512
}

fn process_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap()
}

fn status(field: &str) -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("?").trim().to_owned()
}

fn factory(name: &str, path: &Path) -> Box<dyn Factory> {
    match name {
        "log" => Box::new(engine::log::LogFactory::new(path)),
        _ => panic!("no engine {name}"),
    }
}

fn open(name: &str, path: &Path, kept: &mut Kept) -> Box<dyn Engine> {
    factory(name, path).open(OpenReason::Start, kept).unwrap().engine
}

fn transaction(number: u64, len: usize, fill: &Bytes, durability: Durability) -> Transaction {
    let put = Mutation::Put {
        resource: Arc::from("configmaps"),
        path: Arc::from(format!("default/object-{number:08}")),
        value: Template { head: fill.slice(..len / 2), tail: fill.slice(len / 2..len) },
        created: None,
        expected: Expected::Any,
    };
    Transaction { mutations: vec![put], durability, lifetime: None }
}

/// Not compressible, as JSON is not quite.
fn fill() -> Bytes {
    let mut state = 88_172_645_463_325_252_u64;
    let text: Vec<u8> = (0..1 << 16)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'a' + (state % 26) as u8
        })
        .collect();
    text.into()
}

fn directory_bytes(path: &Path) -> u64 {
    std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            if entry.path().is_dir() { directory_bytes(&entry.path()) } else { entry.metadata().unwrap().len() }
        })
        .sum()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap();
    let path = PathBuf::from(args.next().unwrap());
    let fill = fill();
    println!("== {name}");
    for (group, groups) in [(1, 1500), (16, 400), (256, 100)] {
        let path = path.join(format!("group-{group}"));
        let mut engine = open(&name, &path, &mut Kept::default());
        let meter = Meter::start();
        for round in 0..groups {
            let batch: Vec<Transaction> =
                (0..group).map(|n| transaction((round * group + n) % 5000, 1024, &fill, Durability::Synced)).collect();
            engine.commit(&batch).unwrap();
        }
        meter.stop(&format!("1 KB, groups of {group}"), group * groups, group * groups * 1024);
        engine.close().unwrap();
    }
    {
        let path = path.join("relaxed");
        let mut engine = open(&name, &path, &mut Kept::default());
        let meter = Meter::start();
        for number in 0..20_000 {
            engine.commit(&[transaction(number % 100, 400, &fill, Durability::Relaxed)]).unwrap();
        }
        engine.sync().unwrap();
        meter.stop("400 B relaxed, one sync", 20_000, 20_000 * 400);
        engine.close().unwrap();
    }
    let path = path.join("large");
    {
        let mut kept = Kept { keep: false, ..Kept::default() };
        let mut engine = open(&name, &path, &mut kept);
        let meter = Meter::start();
        for round in 0..400 {
            let batch: Vec<Transaction> =
                (0..250).map(|n| transaction(round * 250 + n, 1500, &fill, Durability::Synced)).collect();
            engine.commit(&batch).unwrap();
            if engine.wants_checkpoint() {
                let live = (0..(round + 1) * 250).map({
                    let fill = fill.clone();
                    move |number| {
                        Ok(Record {
                            resource: Arc::from("configmaps"),
                            path: Arc::from(format!("default/object-{number:08}")),
                            value: Template { head: fill.slice(..750), tail: fill.slice(750..1500) },
                            created: Revision(number + 1),
                            modified: Revision(number + 1),
                        })
                    }
                });
                engine.checkpoint(Box::new(live)).unwrap();
            }
        }
        engine.close().unwrap();
        meter.stop("100,000 of 1.5 KB, groups of 250", 100_000, 100_000 * 1500);
        println!("RSS while loading: {} (peak {}), threads {}", status("VmRSS:"), status("VmHWM:"), status("Threads:"));
    }
    let mut kept = Kept::default();
    let start = Instant::now();
    let engine = open(&name, &path, &mut kept);
    println!(
        "recovery of {} records, {} MB: {:.0} ms; directory {} MB; RSS {}, threads {}",
        kept.count,
        kept.bytes / 1_000_000,
        start.elapsed().as_secs_f64() * 1e3,
        directory_bytes(&path) / 1_000_000,
        status("VmRSS:"),
        status("Threads:"),
    );
    let before = (cpu(), process_bytes());
    std::thread::sleep(Duration::from_secs(5));
    println!("idle for 5 s: {:?} CPU, {} bytes written", cpu() - before.0, process_bytes() - before.1);
    engine.close().unwrap();
}
