//! `registries.yaml` in the data directory: how registries are spoken to. The format is that of k3s, so far as it goes
//! here: plain HTTP, certificate authorities and the node's own credentials. Other mirrors are refused, not ignored.

use std::{collections::BTreeMap, fs, io, path::Path};

use anyhow::{Context as _, bail};
use images::{Credentials, PullerConfig};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    mirrors: BTreeMap<String, Mirror>,
    configs: BTreeMap<String, Config>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Mirror {
    endpoint: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    auth: Option<Auth>,
    tls: Option<Tls>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    username: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    /// Trusted beside the machine's own authorities, for every registry.
    ca_file: std::path::PathBuf,
}

/// Reads the file; without one, upstream's defaults hold.
pub(crate) fn load(path: &Path) -> anyhow::Result<PullerConfig> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PullerConfig::default()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    parse(&text).with_context(|| format!("registries in {}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<PullerConfig> {
    // A file of comments alone is an empty one.
    let document: Option<Document> = serde_saphyr::from_str(text)?;
    let Document { mirrors, configs } = document.unwrap_or_default();
    let mut settings = PullerConfig::default();
    for (registry, mirror) in mirrors {
        for endpoint in mirror.endpoint {
            let endpoint = endpoint.trim_end_matches('/');
            match endpoint.split_once("://") {
                Some(("http", host)) if host == registry => settings.plain_http.push(registry.clone()),
                Some(("https", host)) if host == registry => {}
                _ => bail!(
                    "{endpoint:?} cannot stand in for {registry:?}: the only endpoints that are known are http://{registry} and https://{registry}"
                ),
            }
        }
    }
    for (registry, config) in configs {
        if let Some(Tls { ca_file }) = config.tls {
            let authority = fs::read(&ca_file).with_context(|| format!("read ca_file {}", ca_file.display()))?;
            settings.extra_roots.push(authority);
        }
        if let Some(Auth { username, password }) = config.auth {
            settings.credentials.push((registry, Credentials::Basic { username, password }));
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let authority = directory.path().join("ca.pem");
        fs::write(&authority, "pem").unwrap();
        let text = format!(
            "mirrors:\n  reg.example:5000:\n    endpoint: ['http://reg.example:5000']\n\
             configs:\n  other.example:\n    auth: {{username: user, password: secret}}\n    tls: {{ca_file: {}}}\n",
            authority.display()
        );
        let settings = parse(&text).unwrap();
        assert_eq!(settings.plain_http, ["reg.example:5000"]);
        assert_eq!(settings.extra_roots, [b"pem".to_vec()]);
        let credentials = Credentials::Basic { username: "user".into(), password: "secret".into() };
        assert!(settings.credentials == [("other.example".to_owned(), credentials)]);
        assert!(parse("# nothing\n").is_ok());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let refused = |text: &str| format!("{:#}", parse(text).err().unwrap());
        assert!(
            refused("mirrors: {docker.io: {endpoint: ['https://mirror.example']}}").contains("cannot stand in for")
        );
        assert!(refused("configs: {a: {tls: {insecure_skip_verify: true}}}").contains("insecure_skip_verify"));
        assert!(refused("configs: {a: {tls: {ca_file: /nowhere/ca.pem}}}").contains("/nowhere/ca.pem"));
    }
}
