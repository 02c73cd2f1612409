//! The store through its public door.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what tests share fails by panicking as they do, and their tasks end with them"
)]

mod basics;
mod disk;
mod etcd;
mod etcd_server;
mod kill;
mod load;
mod model;
