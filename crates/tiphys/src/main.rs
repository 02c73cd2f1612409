//! tiphys
fn main() {}
