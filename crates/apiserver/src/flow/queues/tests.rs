//! The queues under a clock of their own.

use super::*;

const QUEUED: Limit = Limit::Queue { queues: 8, hand: 2, length: 3 };

struct World {
    queues: Queues,
    now: Instant,
    granted: Vec<(&'static str, Grant)>,
    waiting: Vec<(&'static str, u64, usize, oneshot::Receiver<Grant>)>,
}

impl World {
    fn new(limit: Limit, seats: u64) -> Self {
        let now = Instant::now();
        Self { queues: Queues::new(limit, seats, now), now, granted: Vec::new(), waiting: Vec::new() }
    }

    fn start(&mut self, who: &'static str, flow: u64, seats: u32) -> &'static str {
        let estimate = Estimate { initial: seats, ..Estimate::ONE };
        match self.queues.start(estimate, flow, Digest::default, self.now) {
            Start::Granted(grant) => {
                self.granted.push((who, grant));
                "granted"
            }
            Start::Queued { id, queue, granted } => {
                self.waiting.push((who, id, queue, granted));
                "queued"
            }
            Start::Rejected(why) => why,
        }
    }

    /// Ends one that runs, and says who may go on for it.
    fn finish(&mut self, who: &str) -> Vec<&'static str> {
        let at = self.granted.iter().position(|(name, _)| *name == who).unwrap();
        let (_, grant) = self.granted.remove(at);
        self.queues.finish(grant, self.now);
        self.next()
    }

    fn next(&mut self) -> Vec<&'static str> {
        let mut let_in = Vec::new();
        self.waiting.retain_mut(|(who, _, _, granted)| match granted.try_recv() {
            Ok(grant) => {
                let_in.push(*who);
                self.granted.push((who, grant));
                false
            }
            Err(_) => true,
        });
        let_in
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }
}

#[test]
fn seats_are_given_until_there_are_none_and_queues_are_bounded() {
    let mut world = World::new(QUEUED, 2);
    assert_eq!([world.start("a", 0, 1), world.start("b", 0, 1)], ["granted", "granted"]);
    // A flow has two queues of three places.
    for _ in 0..6 {
        assert_eq!(world.start("x", 0, 1), "queued");
    }
    assert_eq!(world.start("y", 0, 1), "queue-full");
    assert_eq!(world.queues.totals.rejected, 1);
    world.pass(5);
    assert_eq!(world.finish("a"), ["x"]);
    assert_eq!(world.start("y", 0, 1), "queued");
}

#[test]
fn a_flow_that_asks_little_is_not_held_up_by_one_that_asks_much() {
    let mut world = World::new(QUEUED, 1);
    let loud = 0;
    // Find a flow that shares no queue with the loud one.
    let hand = |flow| dealer::deal(flow, 8, 2).collect::<Vec<_>>();
    let quiet = (1..100).find(|flow| hand(*flow).iter().all(|card| !hand(loud).contains(card))).unwrap();
    assert_eq!(world.start("running", loud, 1), "granted");
    for name in ["l1", "l2", "l3", "l4"] {
        assert_eq!(world.start(name, loud, 1), "queued");
    }
    world.pass(1);
    assert_eq!(world.start("q", quiet, 1), "queued");
    let mut order = Vec::new();
    let mut running = "running";
    while !world.waiting.is_empty() {
        world.pass(10);
        let next = world.finish(running);
        assert_eq!(next.len(), 1);
        running = next[0];
        order.push(running);
    }
    let place = order.iter().position(|who| *who == "q").unwrap();
    assert!(place <= 2, "{order:?}");
}

#[test]
fn wide_requests_wait_for_room_and_are_not_overtaken_for_ever() {
    let mut world = World::new(Limit::Queue { queues: 1, hand: 1, length: 3 }, 4);
    assert_eq!(world.start("a", 0, 3), "granted");
    assert_eq!(world.start("wide", 0, 4), "queued");
    assert_eq!(world.start("narrow", 0, 1), "queued");
    world.pass(1);
    assert_eq!(world.finish("a"), ["wide"]);
    world.pass(1);
    assert_eq!(world.finish("wide"), ["narrow"]);
    world.finish("narrow");
    // Wider than everything: alone.
    assert_eq!(world.start("huge", 0, 9), "queued");
    assert_eq!(world.next(), ["huge"]);
    assert_eq!(world.start("other", 0, 1), "queued");
}

#[test]
fn levels_without_queues_refuse_and_exempt_ones_do_not() {
    let mut world = World::new(Limit::Reject, 1);
    assert_eq!([world.start("a", 0, 1), world.start("b", 0, 1)], ["granted", "concurrency-limit"]);
    let mut world = World::new(Limit::Exempt, 0);
    assert_eq!([world.start("a", 0, 1), world.start("b", 0, 5)], ["granted", "granted"]);
}

#[test]
fn those_who_go_leave_no_trace() {
    let mut world = World::new(QUEUED, 1);
    world.start("a", 0, 1);
    world.start("gone", 0, 1);
    world.start("late", 0, 1);
    world.start("c", 0, 1);
    // One drops its receiver, another waits too long.
    let (_, _, _, receiver) = world.waiting.remove(0);
    drop(receiver);
    let (_, id, queue, _receiver) = world.waiting.remove(0);
    assert!(world.queues.cancel(id, queue, true, world.now));
    assert!(!world.queues.cancel(id, queue, true, world.now));
    assert_eq!(world.finish("a"), ["c"]);
    world.finish("c");
    let totals = world.queues.totals;
    assert!(world.queues.is_idle());
    assert_eq!((totals.seats_in_use, totals.seats_waiting, world.queues.active), (0, 0, 0));
    assert_eq!((totals.timed_out, totals.cancelled), (1, 2));
}

#[test]
fn seats_linger_behind_a_write_that_many_watch() {
    let mut world = World::new(QUEUED, 2);
    let estimate = Estimate { initial: 1, last: 2, additional: Duration::from_millis(10) };
    let Start::Granted(grant) = world.queues.start(estimate, 0, Digest::default, world.now) else { panic!() };
    assert_eq!(world.start("b", 0, 1), "queued");
    world.pass(1);
    let free = world.queues.finish(grant, world.now).unwrap();
    assert_eq!(free, world.now + Duration::from_millis(10));
    assert!(world.next().is_empty());
    world.pass(10);
    world.queues.poke(world.now);
    assert_eq!(world.next(), ["b"]);
}

#[test]
fn more_seats_let_more_in() {
    let mut world = World::new(QUEUED, 1);
    world.start("a", 0, 1);
    world.start("b", 0, 1);
    world.queues.configure(QUEUED, 2, world.now);
    assert_eq!(world.next(), ["b"]);
}

#[test]
fn demand_is_averaged_over_time() {
    let start = Instant::now();
    let mut demand = Demand::new(start);
    demand.set(4.0, start);
    demand.set(0.0, start + Duration::from_secs(5));
    let seen = demand.reset(start + Duration::from_secs(10));
    assert!((seen.average - 2.0).abs() < 1e-9 && (seen.deviation - 2.0).abs() < 1e-9 && seen.max == 4.0);
    let seen = demand.reset(start + Duration::from_secs(20));
    assert_eq!(seen, Seen { average: 0.0, deviation: 0.0, max: 0.0 });
}

proptest::proptest! {
    /// However requests come, go and end: seats are never given twice, and none are lost.
    #[test]
    fn seats_are_kept_count_of(steps in proptest::collection::vec((0..4_u8, 0..6_u64, 1..4_u32), 1..200)) {
        let mut world = World::new(QUEUED, 5);
        for (what, flow, seats) in steps {
            world.pass(1);
            match what {
                0 | 1 => { world.start("x", flow, seats); }
                2 if !world.granted.is_empty() => { world.finish("x"); }
                3 if !world.waiting.is_empty() => {
                    let (_, id, queue, receiver) = world.waiting.remove(0);
                    proptest::prop_assert!(world.queues.cancel(id, queue, false, world.now));
                    drop(receiver);
                }
                _ => {}
            }
            world.next();
            let in_use: u64 = world.granted.iter().map(|(_, grant)| grant.estimate.seats()).sum();
            let totals = world.queues.totals;
            proptest::prop_assert_eq!(totals.seats_in_use, in_use);
            proptest::prop_assert!(in_use <= 5);
            proptest::prop_assert_eq!((totals.waiting, totals.executing), (world.waiting.len(), world.granted.len()));
            let active = world.queues.queues.iter().filter(|queue| !queue.is_idle()).count() as u64;
            proptest::prop_assert_eq!(world.queues.active, active);
        }
    }
}
