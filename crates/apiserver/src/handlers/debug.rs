//! What operators look at: `/statusz`, `/flagz`, `/debug/pprof`, `/debug/api_priority_and_fairness`.
//!
//! Of Go's profiles only what this program can honestly say: its command line, its threads and its memory. Upstream:
//! `component-base/zpages`, `server/routes/profiling.go`.

use std::fs;

use jiff::Timestamp;

use crate::{
    flow,
    respond::{self, Answer},
    server::{ApiServer, Call},
    version,
};

pub(super) fn statusz(server: &ApiServer) -> Answer {
    let info = serde_json::to_value(version::info()).unwrap_or_default();
    let text = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
    let started = server.inner.started;
    let up = Timestamp::now().as_second() - started.as_second();
    let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
    respond::text(
        200,
        format!(
            "\nkube-apiserver statusz\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\nStarted: {}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\nCompiler version: {}\nBinary version: {}\nEmulation version: {}.{}\nPaths: /healthz /livez /metrics /readyz /statusz /version\n",
            started.strftime("%a %b %e %H:%M:%S UTC %Y"),
            text("goVersion"),
            text("gitVersion"),
            text("major"),
            text("minor"),
        ),
    )
}

pub(super) fn flagz(server: &ApiServer) -> Answer {
    let mut out = String::from(
        "\nkube-apiserver flagz\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\n",
    );
    let mut flags = server.inner.options.flags.clone();
    flags.sort();
    for (name, value) in flags {
        out.push_str(&format!("{name}={value}\n"));
    }
    respond::text(200, out)
}

pub(super) fn flow(server: &ApiServer, call: &Call, what: &str) -> Answer {
    let Some(flow) = &server.inner.flow else { return respond::not_found() };
    match what {
        "dump_priority_levels" => respond::text(200, flow::dump_levels(flow)),
        "dump_queues" => respond::text(200, flow::dump_queues(flow)),
        "dump_requests" => {
            respond::text(200, flow::dump_requests(flow, !call.param("includeRequestDetails").is_empty()))
        }
        _ => respond::not_found(),
    }
}

pub(super) fn pprof(what: &str) -> Answer {
    match what {
        "" => respond::text(
            200,
            "/debug/pprof/\n\ncmdline\tthe program's arguments, separated by NUL\nmemory\twhat the kernel says of the process's memory\nthreads\tname, state, CPU time and wait of every thread\n",
        ),
        "cmdline" => respond::text(200, fs::read_to_string("/proc/self/cmdline").unwrap_or_default()),
        "memory" => respond::text(
            200,
            ["/proc/self/status", "/proc/self/smaps_rollup"]
                .iter()
                .map(|path| fs::read_to_string(path).unwrap_or_default())
                .collect::<String>(),
        ),
        "threads" => respond::text(200, threads()),
        _ => respond::not_found(),
    }
}

fn threads() -> String {
    let mut out = String::from("tid\tstate\tcpu_seconds\twaits_in\tname\n");
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    for task in tasks {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        out.push_str(&format!(
            "{}\t{}\t{:.2}\t{}\t{}\n",
            task.file_name().to_string_lossy(),
            fields.first().unwrap_or(&"?"),
            (ticks(11) + ticks(12)) / 100.0,
            read("wchan"),
            read("comm").trim(),
        ));
    }
    out
}
