//! The whole program as a user has it: `tiphys server` as a process of its own, with containers, against faults.

#![expect(clippy::print_stderr, reason = "a failing test shows the server's log")]

mod cluster;
mod disk_full;
mod faults;
mod kill_loop;
mod machine;
mod refusals;
mod registry;
mod traffic;
