//! The log on a disk that forgets, against a model: what was acknowledged as synced is there, what is there is a
//! prefix of what was written, and damage is reported or does not matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{LogFactory, LogOptions};
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::{
    CommitError, Durability, Engine, EngineError, Expected, Factory, Live, Mutation, OpenReason, Outcome, Record,
    Restore, Revision, Template, Transaction,
};

type Contents = BTreeMap<String, (u64, u64, Text)>;

/// A value, short in messages.
#[derive(Clone, PartialEq)]
struct Text(Vec<u8>);

/// What an opened log gave.
#[derive(Default)]
struct Restored {
    contents: Contents,
    /// Of the last change that is there.
    last: u64,
    gap: u64,
}

/// What was written: the contents after each revision, in order.
struct Model {
    versions: Vec<(u64, Contents)>,
    /// The last revision that may not be lost.
    safe: u64,
    /// The last revision that was given out or left out.
    used: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Write>),
    Sync,
    Checkpoint,
    /// Closes and opens again.
    Restart,
    /// Opens again without closing, on the same machine.
    Kill,
    PowerCut,
    /// Killed, and the power goes after so many calls of the next start.
    CutWhileOpening(u64),
    /// After so many more calls everything fails, then the power is cut.
    PowerCutAfter(u64),
    FailSync,
    Full,
}

#[derive(Clone, Debug)]
struct Write {
    durability: Durability,
    /// Of each key a length for the value, or none to delete it.
    changes: Vec<(u8, Option<u16>)>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

// === impl Restored ===

impl Restore for Restored {
    fn live(&mut self, record: Record) {
        self.put(record);
    }

    fn base(&mut self, revision: Revision) {
        self.last = self.last.max(revision.0);
    }

    fn put(&mut self, record: Record) {
        assert!(record.created <= record.modified);
        self.last = self.last.max(record.modified.0);
        let value = [&record.value.head[..], b"|", &record.value.tail[..]].concat();
        self.contents.insert(record.path.to_string(), (record.created.0, record.modified.0, Text(value)));
    }

    fn delete(&mut self, _resource: &str, path: &str, revision: Revision) {
        self.last = revision.0;
        assert!(self.contents.remove(path).is_some());
    }

    fn gap(&mut self, upto: Revision) {
        assert!(upto.0 > self.last.max(self.gap));
        self.gap = upto.0;
    }
}

// === impl Model ===

impl Model {
    fn new() -> Model {
        Model { versions: vec![(0, Contents::new())], safe: 0, used: 0 }
    }

    fn latest(&self) -> &Contents {
        &self.versions.last().unwrap().1
    }

    fn transactions(&self, writes: &[Write]) -> Vec<Transaction> {
        let mut contents = self.latest().clone();
        let mut batch = Vec::new();
        for write in writes {
            let mut mutations = BTreeMap::new();
            for (key, len) in &write.changes {
                let (resource, path): (Arc<str>, Arc<str>) = (Arc::from("pods"), Arc::from(format!("ns/{key}")));
                let known = contents.get(&*path).map(|(created, ..)| Revision(*created));
                match len {
                    Some(len) => {
                        let text = vec![b'a' + key % 26; usize::from(*len)];
                        let value = Template::split(Bytes::from(text), usize::from(*len) / 2);
                        let put = Mutation::Put { resource, path, value, created: known, expected: Expected::Any };
                        mutations.insert(*key, put);
                    }
                    None if known.is_some() => {
                        mutations.insert(*key, Mutation::Delete { resource, path, expected: Expected::Any });
                    }
                    None => {}
                }
            }
            let transaction = Transaction {
                mutations: mutations.into_values().collect(),
                durability: write.durability,
                lifetime: None,
            };
            apply(&mut contents, &transaction, u64::MAX);
            batch.push(transaction);
        }
        // A batch holds no key twice.
        let mut seen = std::collections::BTreeSet::new();
        batch.retain(|transaction| {
            let fresh = transaction.mutations.iter().all(|mutation| !seen.contains(mutation.path()));
            seen.extend(transaction.mutations.iter().map(|mutation| Arc::clone(mutation.path())));
            fresh && !transaction.mutations.is_empty()
        });
        batch
    }

    fn push(&mut self, transaction: &Transaction, revision: u64) {
        let mut contents = self.latest().clone();
        apply(&mut contents, transaction, revision);
        self.versions.push((revision, contents));
        self.used = revision;
    }

    /// What is there is one of the versions, and not older than what is safe. It is the latest from then on.
    fn check(&mut self, found: &Restored) {
        let at = self.versions.iter().rposition(|(revision, _)| *revision <= found.last).unwrap();
        assert_eq!(self.versions[at].1, found.contents);
        assert!(found.last >= self.safe, "lost: {} is there, {} was synced", found.last, self.safe);
        self.versions.truncate(at + 1);
        self.safe = found.last;
        self.used = found.last.max(found.gap);
    }
}

fn apply(contents: &mut Contents, transaction: &Transaction, revision: u64) {
    for mutation in &transaction.mutations {
        match mutation {
            Mutation::Put { path, value, created, .. } => {
                let created = created.map_or(revision, |created| created.0);
                let value = [&value.head[..], b"|", &value.tail[..]].concat();
                contents.insert(path.to_string(), (created, revision, Text(value)));
            }
            Mutation::Delete { path, .. } => {
                contents.remove(&**path);
            }
        }
    }
}

fn live(contents: &Contents) -> Live {
    Box::new(contents.clone().into_iter().map(|(path, (created, modified, Text(value)))| {
        let hole = value.iter().position(|byte| *byte == b'|').unwrap();
        let value = Bytes::from(value);
        Ok(Record {
            resource: Arc::from("pods"),
            path: Arc::from(path),
            value: Template { head: value.slice(..hole), tail: value.slice(hole + 1..) },
            created: Revision(created),
            modified: Revision(modified),
        })
    }))
}

fn open(disk: &SimDisk, reason: OpenReason) -> Result<(Box<dyn Engine>, Restored), EngineError> {
    let factory = LogFactory::on(disk.clone(), LogOptions { checkpoint_bytes: u64::MAX, step_bytes: 16 << 10 });
    let mut restored = Restored::default();
    let opened = factory.open(reason, &mut restored)?;
    assert!(opened.revision.0 >= restored.last.max(restored.gap));
    Ok((opened.engine, restored))
}

fn run(seed: u64, steps: &[Step]) -> (SimDisk, Model) {
    let disk = SimDisk::new(seed);
    let mut model = Model::new();
    let mut engine = Some(open(&disk, OpenReason::Start).unwrap().0);
    let reopen = |model: &mut Model, reason| {
        let (engine, restored) = open(&disk, reason).unwrap();
        model.check(&restored);
        Some(engine)
    };
    let mut dying = false;
    for step in steps {
        let Some(running) = engine.as_mut() else { panic!("no engine") };
        let mut failed = false;
        match step {
            Step::Commit(writes) => {
                let batch = model.transactions(writes);
                let result = running.commit(&batch);
                let synced = batch.iter().any(|transaction| transaction.durability == Durability::Synced);
                match result {
                    Ok(outcomes) => {
                        for (transaction, outcome) in batch.iter().zip(outcomes) {
                            let Outcome::Committed(revision) = outcome else { panic!("conflict") };
                            assert!(revision.0 > model.used);
                            model.push(transaction, revision.0);
                        }
                        if synced {
                            model.safe = model.versions.last().unwrap().0;
                        }
                    }
                    Err(CommitError::Refused(_)) => {}
                    Err(CommitError::Broken(_)) => {
                        // May be there: the revisions are the ones after the last.
                        for (revision, transaction) in (model.used + 1..).zip(&batch) {
                            model.push(transaction, revision);
                        }
                        failed = true;
                    }
                }
            }
            Step::Sync => match running.sync() {
                Ok(()) => model.safe = model.versions.last().unwrap().0,
                Err(_) => failed = true,
            },
            Step::Checkpoint => failed = running.checkpoint(live(model.latest())).is_err(),
            Step::Restart => {
                let closed = engine.take().unwrap().close();
                if closed.is_ok() {
                    model.safe = model.versions.last().unwrap().0;
                    if !dying {
                        engine = reopen(&mut model, OpenReason::Start);
                    }
                }
                failed = closed.is_err() || dying;
            }
            Step::Kill if !dying => {
                drop(engine.take());
                // The page cache has it all.
                let everything = model.versions.last().unwrap().0;
                engine = reopen(&mut model, OpenReason::Start);
                assert!(model.safe >= everything);
            }
            Step::Kill => {}
            Step::PowerCut => {
                drop(engine.take());
                dying = false;
                disk.power_cut();
                engine = reopen(&mut model, OpenReason::Start);
            }
            Step::CutWhileOpening(_) if dying => {}
            Step::CutWhileOpening(calls) => {
                drop(engine.take());
                disk.fail_after(*calls);
                let opened = open(&disk, OpenReason::Start);
                if let Ok((_, restored)) = &opened {
                    model.check(restored);
                }
                drop(opened);
                disk.power_cut();
                engine = reopen(&mut model, OpenReason::Start);
            }
            Step::PowerCutAfter(calls) => {
                disk.fail_after(*calls);
                dying = true;
            }
            Step::FailSync => {
                disk.fail_syncs(true);
                let sync = running.commit(
                    &model.transactions(&[Write { durability: Durability::Synced, changes: vec![(0, Some(9))] }]),
                );
                assert!(sync.is_err());
                let batch =
                    model.transactions(&[Write { durability: Durability::Synced, changes: vec![(0, Some(9))] }]);
                model.push(&batch[0], model.used + 1);
                disk.fail_syncs(false);
                failed = true;
            }
            Step::Full => {
                disk.set_capacity(0);
                let huge = vec![b'x'; 2 << 20];
                let put = Mutation::Put {
                    resource: Arc::from("pods"),
                    path: Arc::from("huge"),
                    value: Template::split(Bytes::from(huge), 0),
                    created: None,
                    expected: Expected::Any,
                };
                let result = running.commit(&[Transaction {
                    mutations: vec![put],
                    durability: Durability::Synced,
                    lifetime: None,
                }]);
                assert!(matches!(result, Err(CommitError::Refused(_))));
                disk.set_capacity(usize::MAX);
            }
        }
        if failed {
            drop(engine.take());
            let reason = if dying {
                disk.power_cut();
                dying = false;
                OpenReason::Start
            } else {
                OpenReason::Failure
            };
            engine = reopen(&mut model, reason);
        }
    }
    drop(engine);
    if dying {
        disk.power_cut();
    }
    let (engine, restored) = open(&disk, OpenReason::Start).unwrap();
    model.check(&restored);
    drop(engine);
    (disk, model)
}

fn write() -> impl Strategy<Value = Write> {
    let len = prop_oneof![3 => 0..60_u16, 1 => 0..3000_u16];
    let change = (0..12_u8, prop::option::weighted(0.8, len));
    let durability = prop_oneof![2 => Just(Durability::Synced), 1 => Just(Durability::Relaxed)];
    (durability, prop::collection::vec(change, 1..4)).prop_map(|(durability, changes)| Write { durability, changes })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => prop::collection::vec(write(), 1..4).prop_map(Step::Commit),
        2 => Just(Step::Sync),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        2 => Just(Step::Kill),
        2 => Just(Step::PowerCut),
        3 => (0..40_u64).prop_map(Step::PowerCutAfter),
        2 => (0..12_u64).prop_map(Step::CutWhileOpening),
    ]
}

/// Without failing power: then everything behaves in one way only.
fn calm_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => prop::collection::vec(write(), 1..4).prop_map(Step::Commit),
        2 => Just(Step::Sync),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        1 => Just(Step::FailSync),
        1 => Just(Step::Full),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn survives_power_cuts(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..60)) {
        run(seed, &steps);
    }

    #[test]
    fn survives_failing_syncs_and_full_disks(seed in any::<u64>(), steps in prop::collection::vec(calm_step(), 1..60)) {
        run(seed, &steps);
    }

    #[test]
    fn flipped_bits_are_reported_or_harmless(
        seed in any::<u64>(),
        steps in prop::collection::vec(calm_step(), 1..30),
        file in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 20),
    ) {
        let (disk, model) = run(seed, &steps);
        let names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name != "lock").collect();
        let name = file.get(&names);
        let before = disk.contents(name).unwrap();
        let used = before.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        for (place, bit) in places {
            // Mostly where something is, sometimes in the space ahead.
            let offset = place.index((used + 64).min(before.len()));
            assert!(disk.flip(name, offset, bit));
            match open(&disk, OpenReason::Start) {
                Err(EngineError::Damaged { .. } | EngineError::Format { .. }) => {}
                Err(error) => panic!("{error}"),
                Ok((engine, restored)) => {
                    assert_eq!(&restored.contents, model.latest(), "bit {bit} of {offset} of {name}");
                    drop(engine);
                    // It may have been cut off or written over; what follows is another experiment.
                    break;
                }
            }
            assert!(disk.flip(name, offset, bit));
        }
    }
}

#[test]
fn two_cannot_open_it() {
    let disk = SimDisk::new(1);
    let (_engine, _) = open(&disk, OpenReason::Start).unwrap();
    assert!(matches!(open(&disk, OpenReason::Start), Err(EngineError::Locked { .. })));
}

#[test]
fn a_checkpoint_takes_the_place_of_the_logs() {
    let disk = SimDisk::new(1);
    let (mut engine, _) = open(&disk, OpenReason::Start).unwrap();
    let mut model = Model::new();
    for round in 0..20 {
        let write = Write { durability: Durability::Synced, changes: vec![(round % 3, Some(500))] };
        let batch = model.transactions(&[write]);
        let Outcome::Committed(revision) = engine.commit(&batch).unwrap()[0] else { panic!("conflict") };
        model.push(&batch[0], revision.0);
    }
    engine.checkpoint(live(model.latest())).unwrap();
    // The next commit takes notice once it is finished.
    while disk.list().unwrap().contains(&"00000001.log".to_owned()) {
        std::thread::yield_now();
    }
    engine.close().unwrap();
    assert_eq!(disk.list().unwrap(), ["00000002.checkpoint", "00000002.log"]);
    let (_engine, restored) = open(&disk, OpenReason::Start).unwrap();
    assert_eq!(&restored.contents, model.latest());
    assert_eq!((restored.last, restored.gap), (20, 0));
}

#[test]
fn a_power_cut_skips_revisions_and_a_kill_does_not() {
    let disk = SimDisk::new(1);
    drop(open(&disk, OpenReason::Start).unwrap());
    let (engine, restored) = open(&disk, OpenReason::Start).unwrap();
    assert_eq!(restored.gap, 0);
    drop(engine);
    disk.power_cut();
    let (_engine, restored) = open(&disk, OpenReason::Start).unwrap();
    assert_eq!(restored.gap, super::GAP);
}

#[test]
fn a_missing_log_is_noticed() {
    let disk = SimDisk::new(1);
    let (mut engine, _) = open(&disk, OpenReason::Start).unwrap();
    let model = Model::new();
    engine.checkpoint(live(model.latest())).unwrap();
    drop(engine);
    disk.remove("00000002.log").unwrap();
    assert!(matches!(open(&disk, OpenReason::Start), Err(EngineError::Damaged { .. })));
}

/// So many by default, and as many as are asked for where time is no matter.
fn count(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

/// `TIPHYS_CRASH_IMAGES` says how many power cuts; each leaves an image that some of what was not synced is missing
/// from, sector by sector, also while the log is being opened, and each is opened and compared with what was promised.
#[test]
fn crash_images_open_with_what_was_promised() {
    use proptest::strategy::ValueTree as _;
    let wanted = count("TIPHYS_CRASH_IMAGES", 3_000);
    let rough = prop_oneof![
        12 => prop::collection::vec(write(), 1..4).prop_map(Step::Commit),
        1 => Just(Step::Sync),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Kill),
        2 => Just(Step::PowerCut),
        4 => (0..40_u64).prop_map(Step::PowerCutAfter),
        4 => (0..12_u64).prop_map(Step::CutWhileOpening),
    ];
    let histories = prop::collection::vec(rough, 20..80);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut images, mut seed) = (0, 0);
    while images < wanted {
        seed += 1;
        let steps = histories.new_tree(&mut runner).unwrap().current();
        let (disk, _) = run(seed, &steps);
        // The machine was started so often.
        images += disk.boot_id().parse::<u64>().unwrap() - 1;
    }
    eprintln!("{images} crash images of {seed} histories");
}

/// How a call fails in a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failing {
    /// It and all after it, until the power is cut.
    Power,
    /// It and all after it, until the process is started again.
    Process,
    /// It alone.
    Once,
}

/// A thousand transactions, of which some call to the disk fails: the `call`-th. Gives back whether it came so far.
fn swept(call: u64, failing: Failing) -> bool {
    let disk = SimDisk::new(call + 1);
    let mut model = Model::new();
    let mut engine = Some(open(&disk, OpenReason::Start).unwrap().0);
    match failing {
        Failing::Once => disk.fail_once_after(call),
        Failing::Power | Failing::Process => disk.fail_after(call),
    }
    let mut reached = false;
    for number in 0..1000_u64 {
        let running = engine.as_mut().unwrap();
        let durability = if number % 5 == 0 { Durability::Relaxed } else { Durability::Synced };
        let len = (number % 7 != 6).then_some(u16::try_from(number * 37 % 300).unwrap());
        let write = Write { durability, changes: vec![(u8::try_from(number % 12).unwrap(), len)] };
        let batch = model.transactions(&[write]);
        let mut outcome = Ok(());
        if number % 250 == 249 {
            outcome = running.checkpoint(live(model.latest())).map_err(|_| ());
        }
        if outcome.is_ok() && !batch.is_empty() {
            match running.commit(&batch) {
                Ok(outcomes) => {
                    let Outcome::Committed(revision) = outcomes[0] else { panic!("conflict") };
                    assert!(revision.0 > model.used);
                    model.push(&batch[0], revision.0);
                    if durability == Durability::Synced {
                        model.safe = revision.0;
                    }
                }
                // Nothing was written.
                Err(CommitError::Refused(_)) if failing == Failing::Once => reached = true,
                Err(CommitError::Refused(_)) => outcome = Err(()),
                Err(CommitError::Broken(_)) => {
                    model.push(&batch[0], model.used + 1);
                    outcome = Err(());
                }
            }
        }
        if outcome.is_ok() {
            continue;
        }
        reached = true;
        drop(engine.take());
        let reason = match failing {
            Failing::Power => {
                disk.power_cut();
                OpenReason::Start
            }
            Failing::Process => {
                disk.revive();
                OpenReason::Start
            }
            Failing::Once => OpenReason::Failure,
        };
        let (opened, restored) = open(&disk, reason).unwrap();
        model.check(&restored);
        engine = Some(opened);
    }
    drop(engine);
    disk.revive();
    let (_engine, restored) = open(&disk, OpenReason::Start).unwrap();
    model.check(&restored);
    reached
}

/// `TIPHYS_SWEEP_STEP=1` has every call fail; every 61st without it.
#[test]
fn any_failing_call_loses_nothing() {
    let step = count("TIPHYS_SWEEP_STEP", 61);
    // The power tells how many calls there are: whatever fails without it may be put up with.
    let mut calls = 0;
    while swept(calls, Failing::Power) {
        calls += step;
    }
    assert!(calls > 1000, "the workload has only {calls} calls");
    for failing in [Failing::Process, Failing::Once] {
        for call in (0..calls).step_by(usize::try_from(step).unwrap()) {
            swept(call, failing);
        }
    }
    eprintln!("{} places of {calls} calls, three ways each", calls / step);
}

/// `TIPHYS_FLIP_STEP=1` flips every bit; every 29th without it.
#[test]
fn any_flipped_bit_is_reported_or_harmless() {
    let step = usize::try_from(count("TIPHYS_FLIP_STEP", 29)).unwrap();
    let small = |number: u16| {
        let changes = vec![((number % 12) as u8, (number % 6 != 5).then_some(number % 80)), (12, Some(7))];
        Step::Commit(vec![Write { durability: Durability::Synced, changes }])
    };
    let mut steps: Vec<Step> = (0..30).map(small).collect();
    steps.push(Step::Checkpoint);
    steps.extend((30..50).map(small));
    let (disk, model) = run(7, &steps);
    let (mut flipped, mut reported) = (0, 0);
    let names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name != "lock").collect();
    for name in names {
        let sound = disk.contents(&name).unwrap();
        for bit in (0..sound.len() * 8).step_by(step) {
            // What is done while opening must not add up.
            let image = disk.image();
            assert!(image.flip(&name, bit / 8, u8::try_from(bit % 8).unwrap()));
            flipped += 1;
            match open(&image, OpenReason::Start) {
                Err(EngineError::Damaged { .. } | EngineError::Format { .. }) => reported += 1,
                Err(error) => panic!("{error}"),
                Ok((_, restored)) => assert_eq!(&restored.contents, model.latest(), "bit {bit} of {name}"),
            }
        }
    }
    assert!(reported > flipped / 10, "only {reported} of {flipped}");
    eprintln!("{flipped} flipped bits, {reported} reported, the others harmless");
}
