//! The runtime with real containers. Needs root. Each test has its own directory and control groups, removed at its end.

mod adoption;
mod confinement;
mod containers;
mod figures;
mod pod;
mod streams;
