//! The store through its public door.

mod basics;
mod disk;
mod kill;
mod model;
