//! Kinds of the `events.k8s.io` group.

mod event;

pub use event::Events;
