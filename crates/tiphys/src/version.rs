//! What this program calls itself.

/// Our own version, and the API that it serves.
pub(crate) const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), " (Kubernetes v1.36)");

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn main() -> anyhow::Result<()> {
    println!("tiphys {TEXT}");
    Ok(())
}
