//! The whole program as a user has it: `tiphys server` as a process of its own, with containers, against faults.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test tells its figures, and a failing one the server's log"
)]

mod api_servers;
mod cluster;
mod disk_full;
mod faults;
mod kill_loop;
mod machine;
mod operating;
mod refusals;
mod registry;
mod traffic;
