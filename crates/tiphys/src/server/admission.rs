//! The file in which an operator writes the settings of admission plugins. Upstream: `--admission-control-config-file`.

use std::path::Path;

use admission::{Configuration, configuration::ConfigurationError};
use anyhow::Context as _;
use serde_json::Value;

/// Bytes; a list of exemptions is far shorter.
const MAX_FILE: u64 = 1 << 20;

/// Nothing is set when there is no file. Paths in it are relative to it.
pub(super) fn configuration(file: Option<&Path>) -> anyhow::Result<Configuration> {
    let Some(file) = file else { return Ok(Configuration::default()) };
    let folder = file.parent().unwrap_or(Path::new(""));
    let open = |path: &str| read(&folder.join(path)).map_err(ConfigurationError::Malformed);
    let value = read(file).map_err(ConfigurationError::Malformed)?;
    Configuration::read(&value, open).with_context(|| format!("read {}", file.display()))
}

fn read(path: &Path) -> Result<Value, String> {
    let why = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(|error| why(&error))?.len();
    if size > MAX_FILE {
        return Err(why(&format!("{size} bytes are too many")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| why(&error))?;
    serde_saphyr::from_str(&text).map_err(|error| why(&error))
}
