//! The store through its public door.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "what tests share fails by panicking as they do, and their tasks end with them"
)]

mod at_rest;
mod basics;
mod disk;
mod etcd;
mod etcd_server;
mod histories;
mod kill;
mod linearizable;
mod load;
mod model;
mod validators;

/// What is done once by default, and as often as is asked for where time is no matter.
fn count(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}
