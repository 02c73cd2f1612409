//! Attacks that upstream was open to once, each by its name, and the classes they belong to. Each test of a protection was
//! seen to fail with it taken out; those of rapid reset and continuation floods only with the library's own bounds out, too.

mod bombs;
mod credentials;
mod h2;
mod paths;
mod upgrade;
