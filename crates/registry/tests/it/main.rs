//! The pipeline over a store in memory, with kinds made for the purpose.

mod deleting;
mod fixture;
mod listing;
mod watching;
mod writing;
