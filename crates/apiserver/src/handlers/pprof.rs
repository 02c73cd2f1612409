//! `/debug/pprof`, for `go tool pprof` and its like. Upstream: `server/routes/profiling.go`.
//!
//! There is no runtime here that keeps stacks or counts allocations, and none is made up: a profile has the threads in
//! the place of functions, or what memory is mapped for. Which function of a thread works, `perf` can tell.

use std::{collections::BTreeMap, fs, io::Write as _, time::Duration};

use apimachinery::ApiError;
use flate2::{Compression, write::GzEncoder};
use http::header;
use jiff::Timestamp;
use prost::Message;

use crate::{
    body::Body,
    respond::{self, Answer},
    server::Call,
};

const INDEX: &str = "/debug/pprof/\n\n\
    cmdline\tthe program's arguments, separated by NUL\n\
    goroutine\thow many asynchronous tasks there are\n\
    heap\tresident memory by what it is mapped for\n\
    memory\twhat the kernel says of the process's memory, as text\n\
    profile\tCPU time of the threads while it is asked for; ?seconds=30\n\
    threadcreate\tthe threads\n\
    threads\tname, state, CPU time and wait of every thread, as text\n\n\
    goroutine, heap, profile and threadcreate are in the format of pprof, or text with ?debug=1.\n";

/// How long CPU time is counted, unless `seconds` says otherwise.
const DEFAULT_SECONDS: u64 = 30;
/// No profile is longer.
const MAX_SECONDS: u64 = 600;
/// Of the clock in `/proc`, on every architecture: `sysconf(_SC_CLK_TCK)`.
const TICK: Duration = Duration::from_millis(10);

pub(super) async fn answer(call: &Call, what: &str) -> Result<Answer, ApiError> {
    let profile = match what {
        "" => return Ok(respond::text(200, INDEX)),
        "cmdline" => return Ok(respond::text(200, fs::read_to_string("/proc/self/cmdline").unwrap_or_default())),
        "memory" => {
            let read = |path: &&str| fs::read_to_string(path).unwrap_or_default();
            return Ok(respond::text(
                200,
                ["/proc/self/status", "/proc/self/smaps_rollup"].iter().map(read).collect::<String>(),
            ));
        }
        "threads" => return Ok(respond::text(200, threads_as_text())),
        "profile" => cpu(seconds(call)?).await,
        "heap" => memory(&fs::read_to_string("/proc/self/smaps").unwrap_or_default()),
        "threadcreate" => {
            let mut profile = Profile::of(&[("threadcreate", "count")]);
            threads().for_each(|thread| profile.add(&[&thread.name], &[1]));
            profile
        }
        "goroutine" => {
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            let mut profile = Profile::of(&[("tasks", "count")]);
            profile.add(&["tokio"], &[i64::try_from(tasks).unwrap_or(i64::MAX)]);
            profile
        }
        _ => return Ok(respond::not_found()),
    };
    if !matches!(call.param("debug"), "" | "0") {
        return Ok(respond::text(200, profile.as_text()));
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = packed.write_all(&profile.encode_to_vec()).and_then(|()| packed.finish());
    let packed = packed.map_err(|error| ApiError::internal(error.to_string()))?;
    let mut answer = respond::with_type(200, "application/octet-stream", Body::whole(packed));
    let disposition = format!("attachment; filename=\"{what}\"");
    if let Ok(disposition) = disposition.parse() {
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(answer)
}

/// As upstream, nothing or nonsense is the default; what is too long is refused.
fn seconds(call: &Call) -> Result<u64, ApiError> {
    match call.param("seconds").parse() {
        Ok(0) | Err(_) => Ok(DEFAULT_SECONDS),
        Ok(seconds) if seconds > MAX_SECONDS => {
            Err(ApiError::bad_request(format!("profile duration exceeds {MAX_SECONDS} seconds")))
        }
        Ok(seconds) => Ok(seconds),
    }
}

/// CPU time that the threads took in the given time.
async fn cpu(seconds: u64) -> Profile {
    let (began, before) = (Timestamp::now(), threads().map(|thread| (thread.id, thread)).collect::<BTreeMap<_, _>>());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let mut profile = Profile::of(&[("samples", "count"), ("cpu", "nanoseconds")]);
    profile.time_nanos = i64::try_from(began.as_nanosecond()).unwrap_or_default();
    let took = Timestamp::now().duration_since(began);
    profile.duration_nanos = i64::try_from(took.as_nanos()).unwrap_or_default();
    let tick = i64::try_from(TICK.as_nanos()).unwrap_or_default();
    profile.period_type = Some(profile.sample_type[1]);
    profile.period = tick;
    for thread in threads() {
        let (user, system) = before.get(&thread.id).map_or((0, 0), |before| (before.user, before.system));
        for (mode, ticks) in [("user", thread.user - user), ("kernel", thread.system - system)] {
            if ticks > 0 {
                profile.add(&[mode, &thread.name], &[ticks, ticks * tick]);
            }
        }
    }
    profile
}

/// What is resident, by mapping, from the text of `/proc/self/smaps`.
fn memory(smaps: &str) -> Profile {
    let mut profile = Profile::of(&[("inuse_space", "bytes")]);
    let mut resident = BTreeMap::<&str, i64>::new();
    let mut mapping = "anonymous";
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if first == "Rss:" {
            let kilobytes = words.next().and_then(|number| number.parse::<i64>().ok()).unwrap_or_default();
            *resident.entry(mapping).or_default() += kilobytes * 1024;
        } else if !first.ends_with(':') {
            mapping = words.nth(4).unwrap_or("anonymous");
        }
    }
    for (mapping, bytes) in resident.into_iter().filter(|(_, bytes)| *bytes > 0) {
        profile.add(&[mapping], &[bytes]);
    }
    profile
}

struct Thread {
    id: u64,
    name: String,
    state: String,
    waits_in: String,
    /// Of CPU time, in ticks.
    user: i64,
    system: i64,
}

fn threads() -> impl Iterator<Item = Thread> {
    fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(|task| {
        let task = task.ok()?;
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        // The name may have spaces and parentheses in it.
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or_default();
        Some(Thread {
            id: task.file_name().to_str()?.parse().ok()?,
            name: read("comm").trim().to_owned(),
            state: (*fields.first().unwrap_or(&"?")).to_owned(),
            waits_in: read("wchan"),
            user: ticks(11),
            system: ticks(12),
        })
    })
}

fn threads_as_text() -> String {
    let mut out = String::from("tid\tstate\tcpu_seconds\twaits_in\tname\n");
    for thread in threads() {
        let ticks = u32::try_from(thread.user + thread.system).unwrap_or(u32::MAX);
        let seconds = (TICK * ticks).as_secs_f64();
        let Thread { id, name, state, waits_in, .. } = thread;
        out.push_str(&format!("{id}\t{state}\t{seconds:.2}\t{waits_in}\t{name}\n"));
    }
    out
}

/// What of pprof's `profile.proto` is used.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// Both are places in the table of strings.
#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    name: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

impl Profile {
    fn of(values: &[(&str, &str)]) -> Self {
        let mut profile = Self { string_table: vec![String::new()], ..Self::default() };
        for (name, unit) in values {
            let value = ValueType { name: profile.string(name), unit: profile.string(unit) };
            profile.sample_type.push(value);
        }
        profile.time_nanos = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        profile
    }

    /// Adds to the sample with this stack, innermost first.
    fn add(&mut self, stack: &[&str], values: &[i64]) {
        let stack: Vec<u64> = stack.iter().map(|name| self.location(name)).collect();
        match self.sample.iter_mut().find(|sample| sample.location_id == stack) {
            Some(sample) => sample.value.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
            None => self.sample.push(Sample { location_id: stack, value: values.to_vec() }),
        }
    }

    fn string(&mut self, text: &str) -> i64 {
        let place = self.string_table.iter().position(|known| known == text).unwrap_or_else(|| {
            self.string_table.push(text.to_owned());
            self.string_table.len() - 1
        });
        i64::try_from(place).unwrap_or_default()
    }

    /// A location and its only function have the same number.
    fn location(&mut self, name: &str) -> u64 {
        let name = self.string(name);
        if let Some(known) = self.function.iter().find(|function| function.name == name) {
            return known.id;
        }
        let id = self.function.len() as u64 + 1;
        self.function.push(Function { id, name });
        self.location.push(Location { id, line: vec![Line { function_id: id }] });
        id
    }

    fn text(&self, place: i64) -> &str {
        usize::try_from(place).ok().and_then(|place| self.string_table.get(place)).map_or("", String::as_str)
    }

    fn as_text(&self) -> String {
        let types = self.sample_type.iter().map(|value| format!("{}/{}", self.text(value.name), self.text(value.unit)));
        let mut out = format!("{}\n", types.collect::<Vec<_>>().join("\t"));
        for sample in &self.sample {
            let values = sample.value.iter().map(ToString::to_string).collect::<Vec<_>>().join("\t");
            let name =
                |id: &u64| self.function.iter().find(|function| function.id == *id).map(|found| self.text(found.name));
            let stack = sample.location_id.iter().rev().filter_map(name).collect::<Vec<_>>().join(";");
            out.push_str(&format!("{values}\t{stack}\n"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_by_mapping() {
        let smaps = "55d0-55d1 r-xp 00000000 08:01 12 /bin/tiphys\nSize: 8 kB\nRss: 4 kB\nVmFlags: rd ex\n\
                     55d1-55d2 rw-p 00000000 00:00 0 [heap]\nRss: 12 kB\n\
                     7f00-7f01 rw-p 00000000 00:00 0\nRss: 8 kB\n7f02-7f03 rw-p 00000000 00:00 0\nRss: 4 kB\n\
                     7f04-7f05 ---p 00000000 00:00 0 [guard]\nRss: 0 kB\n";
        let text = memory(smaps).as_text();
        assert_eq!(text, "inuse_space/bytes\n4096\t/bin/tiphys\n12288\t[heap]\n12288\tanonymous\n");
    }

    /// The bytes are written out: they are what other programs read.
    #[test]
    fn a_profile_is_what_pprof_reads() {
        let mut profile = Profile::of(&[("cpu", "nanoseconds")]);
        profile.time_nanos = 1;
        profile.add(&["user", "worker"], &[10]);
        profile.add(&["user", "worker"], &[5]);
        profile.add(&["kernel", "worker"], &[1]);
        let mut expected: Vec<u8> = vec![0x0a, 4, 0x08, 1, 0x10, 2];
        expected.extend([0x12, 7, 0x0a, 2, 1, 2, 0x12, 1, 15]);
        expected.extend([0x12, 7, 0x0a, 2, 3, 2, 0x12, 1, 1]);
        for id in 1..=3 {
            expected.extend([0x22, 6, 0x08, id, 0x22, 2, 0x08, id]);
        }
        for id in 1..=3 {
            expected.extend([0x2a, 4, 0x08, id, 0x10, id + 2]);
        }
        for text in ["", "cpu", "nanoseconds", "user", "worker", "kernel"] {
            expected.extend([0x32, u8::try_from(text.len()).unwrap()]);
            expected.extend(text.bytes());
        }
        expected.extend([0x48, 1]);
        assert_eq!(profile.encode_to_vec(), expected);
        assert_eq!(profile.as_text(), "cpu/nanoseconds\n15\tworker;user\n1\tworker;kernel\n");
    }

    #[tokio::test]
    async fn threads_that_work_are_seen() {
        let (sender, stop) = std::sync::mpsc::channel::<()>();
        let busy = std::thread::Builder::new()
            .name("busy".into())
            .spawn(move || while matches!(stop.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {});
        let text = cpu(1).await.as_text();
        drop(sender);
        busy.unwrap().join().unwrap();
        assert!(text.lines().any(|line| line.ends_with("\tbusy;user")), "{text}");
    }
}
