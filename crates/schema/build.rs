//! Compresses the descriptions: they are read by few requests, and four times smaller so.

use std::io::Write;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=generated/descriptions.txt");
    let text = std::fs::read("generated/descriptions.txt")?;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&text)?;
    let folder = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("OUT_DIR is not set"))?;
    std::fs::write(PathBuf::from(folder).join("descriptions.deflate"), encoder.finish()?)
}
