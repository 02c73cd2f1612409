//! The configuration of a server that was given none: a key of its own for Secrets.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::cipher::random;
use crate::config::{ConfigError, Configuration};

/// Reads the configuration at `path`, or makes it with a new key. It is an ordinary configuration: whoever wants
/// another key, or other resources, may change it. The record is bound to its place, so AES-GCM; its nonces are
/// random, which is sound for far more than the writes that Secrets ever get (2^32).
pub fn own_configuration(path: &Path) -> Result<Configuration, ConfigError> {
    if !path.exists() {
        let key: [u8; 32] = random().map_err(|error| ConfigError::Invalid(error.to_string()))?;
        let text = format!(
            "# Made by the API server, which was given no --encryption-provider-config. Without this file the Secrets\n\
             # of the cluster cannot be read: keep a copy with every snapshot, away from it.\n\
             apiVersion: apiserver.config.k8s.io/v1\n\
             kind: EncryptionConfiguration\n\
             resources:\n\
             - resources: [secrets]\n\
             \x20 providers:\n\
             \x20 - aesgcm:\n\
             \x20     keys:\n\
             \x20     - name: key1\n\
             \x20       secret: {}\n\
             \x20 - identity: {{}}\n",
            BASE64_STANDARD.encode(key)
        );
        pki::write_secret(path, text.as_bytes()).map_err(|error| ConfigError::Invalid(error.to_string()))?;
    }
    Configuration::read(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("encryption.yaml");
        own_configuration(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        own_configuration(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
