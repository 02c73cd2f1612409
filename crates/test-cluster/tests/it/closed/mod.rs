//! Attacks that upstream was open to once, each by its name, and the classes they belong to. Every test here was seen to
//! fail with its protection taken out.

mod bombs;
mod credentials;
mod h2;
mod paths;
mod upgrade;
