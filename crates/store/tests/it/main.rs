//! The store through its public door.

mod basics;
