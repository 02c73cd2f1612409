//! The file in which an operator writes the settings of admission plugins. Upstream: `--admission-control-config-file`.

use std::{path::Path, sync::Arc};

use admission::{Configuration, configuration::ConfigurationError, image_policy::ImagePolicy};
use anyhow::Context as _;
use outbound::Kubeconfig;
use registry::admission::Admission;
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

/// What is shown to which webhook: the kubeconfig that the settings of either plugin name. Upstream: `WebhookAdmission`.
pub(super) fn webhook_credentials(configuration: &Configuration) -> anyhow::Result<Kubeconfig> {
    let settings =
        ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"].map(|plugin| configuration.others.get(plugin));
    let mut files = settings.into_iter().flatten().filter_map(|own| own["kubeConfigFile"].as_str());
    match files.find(|file| !file.is_empty()) {
        Some(file) if Path::new(file).is_absolute() => Ok(Kubeconfig::read(Path::new(file))?),
        Some(file) => anyhow::bail!("kubeConfigFile: Invalid value: {file:?}: must be an absolute file path"),
        None => Ok(Kubeconfig::default()),
    }
}

/// The image policy webhook, where it is switched on; it cannot do without its settings.
pub(super) fn image_policy(
    configuration: &Configuration,
    enabled: &[String],
) -> anyhow::Result<Option<Arc<dyn Admission>>> {
    const PLUGIN: &str = "ImagePolicyWebhook";
    if !enabled.iter().any(|name| name == PLUGIN) {
        return Ok(None);
    }
    let own = configuration.others.get(PLUGIN).with_context(|| format!("{PLUGIN} has no configuration"))?;
    let plugin = ImagePolicy::new(own).map_err(anyhow::Error::msg).context(PLUGIN)?;
    Ok(Some(Arc::new(plugin)))
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
