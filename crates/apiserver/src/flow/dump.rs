//! `/debug/api_priority_and_fairness`: levels, queues and requests as comma-separated tables.
//!
//! Upstream: `util/flowcontrol/apf_controller_debug.go`.

use super::{Flow, LevelState, queues::QueueView};

/// Seat-nanoseconds as upstream prints seat-seconds.
fn seat_seconds(work: i128) -> String {
    let hundred_millionths = work / 10;
    let (whole, part) = (hundred_millionths / 100_000_000, (hundred_millionths % 100_000_000).abs());
    format!("{whole}.{part:08}ss")
}

/// Columns padded to the width of their widest cell, as Go's `tabwriter` does.
fn table(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == row.len() {
                out.push_str(cell);
            } else {
                let padded = (width(column) + 2).max(8);
                out.push_str(&format!("{:padded$}", format!("{cell},")));
            }
        }
        out.push('\n');
    }
    out
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

pub(crate) fn levels(flow: &Flow) -> String {
    let mut rows = vec![row([
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])];
    for (name, level) in &flow.0.state.load().levels {
        let queues = level.queues.lock();
        let mut active = 0;
        queues.for_each_queue(|_, queue| active += usize::from(queue.pending > 0));
        let totals = queues.totals;
        rows.push(vec![
            name.clone(),
            active.to_string(),
            queues.is_idle().to_string(),
            level.is_quiescing().to_string(),
            totals.waiting.to_string(),
            totals.executing.to_string(),
            totals.dispatched.to_string(),
            totals.rejected.to_string(),
            totals.timed_out.to_string(),
            totals.cancelled.to_string(),
        ]);
    }
    table(&rows)
}

fn each_queue(flow: &Flow, mut show: impl FnMut(&str, usize, QueueView<'_>)) {
    for (name, level) in &flow.0.state.load().levels {
        let level: &LevelState = level;
        level.queues.lock().for_each_queue(|index, queue| show(name, index, queue));
    }
}

pub(crate) fn queues(flow: &Flow) -> String {
    let mut rows = vec![row([
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ])];
    each_queue(flow, |name, index, queue| {
        rows.push(vec![
            name.to_owned(),
            index.to_string(),
            queue.pending.to_string(),
            queue.executing.to_string(),
            queue.seats_in_use.to_string(),
            seat_seconds(queue.next_dispatch),
            queue.initial_seats.to_string(),
            queue.seats.to_string(),
            seat_seconds(queue.work),
        ]);
    });
    table(&rows)
}

/// Those that wait. Those that are served are counted in the other tables.
pub(crate) fn requests(flow: &Flow, with_details: bool) -> String {
    let mut head = row([
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]);
    if with_details {
        head.extend(row(["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"]));
    }
    let mut rows = vec![head];
    each_queue(flow, |name, index, queue| {
        for (position, (digest, estimate)) in queue.waiting.enumerate() {
            let mut cells = vec![
                name.to_owned(),
                digest.schema.clone(),
                index.to_string(),
                position.to_string(),
                digest.flow.clone(),
                digest.arrived.to_string(),
                estimate.initial.to_string(),
                estimate.last.to_string(),
                format!("{:?}", estimate.additional),
                "0001-01-01T00:00:00Z".to_owned(),
            ];
            if with_details {
                cells.extend([
                    digest.user.clone(),
                    digest.verb.to_owned(),
                    digest.path.clone(),
                    digest.namespace.clone(),
                    digest.name.clone(),
                    digest.api_version.clone(),
                    digest.resource.clone(),
                    digest.subresource.clone(),
                ]);
            }
            rows.push(cells);
        }
    });
    table(&rows)
}
