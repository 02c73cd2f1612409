//! The pipeline over a store in memory, with kinds made for the purpose.

#![expect(clippy::unwrap_used, reason = "what tests share fails by panicking as they do")]

mod deleting;
mod fixture;
mod listing;
mod watching;
mod writing;
