//! Serving certificates out of files, chosen by the name that a client asks for, and taken up anew when the files change.
//!
//! Nothing polls: files are looked at by handshakes, and not more often than once a few seconds. Upstream:
//! `apiserver/pkg/server/dynamiccertificates`, `--tls-cert-file`, `--tls-sni-cert-key`.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use crate::{PkiError, tls::serving_key};

/// How long what was read counts as what is there.
const FRESH: Duration = Duration::from_secs(5);

/// A certificate and its key in two files.
#[derive(Debug)]
pub struct FileIdentity {
    certificate: PathBuf,
    key: PathBuf,
    /// Names it is for, lower case, `*.` in front of whole domains; none: those in the certificate.
    names: Vec<String>,
    current: ArcSwap<Loaded>,
    looked: Mutex<Instant>,
}

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    stamp: (Option<SystemTime>, Option<SystemTime>),
}

/// Chooses among certificates by name; where none fits, the default one.
#[derive(Debug)]
pub struct NamedIdentities {
    default: Arc<dyn ResolvesServerCert>,
    /// A default out of files.
    files: Option<FileIdentity>,
    named: Vec<FileIdentity>,
}

impl FileIdentity {
    pub fn open(certificate: &Path, key: &Path, names: Vec<String>) -> Result<Self, PkiError> {
        let loaded = load(certificate, key, &names)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            names,
            current: ArcSwap::from_pointee(loaded),
            looked: Mutex::new(Instant::now()),
        })
    }

    /// Of `cert,key` or `cert,key:name,name`, as `--tls-sni-cert-key` has it.
    pub fn parse(text: &str) -> Result<Self, PkiError> {
        let (files, names) = text.split_once(':').unwrap_or((text, ""));
        let wrong = || PkiError::Pem {
            name: text.to_owned(),
            detail: "expected comma separated certificate and key file paths".to_owned(),
        };
        let (certificate, key) = files.split_once(',').ok_or_else(wrong)?;
        let names =
            names.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect();
        Self::open(Path::new(certificate), Path::new(key), names)
    }

    fn get(&self) -> Arc<Loaded> {
        if let Ok(mut looked) = self.looked.try_lock()
            && looked.elapsed() >= FRESH
        {
            *looked = Instant::now();
            if stamp(&self.certificate, &self.key) != self.current.load().stamp {
                match load(&self.certificate, &self.key, &self.names) {
                    Ok(loaded) => self.current.store(Arc::new(loaded)),
                    // Half-written, most likely: the old one is good until the next look.
                    Err(error) => {
                        tracing::warn!(%error, path = %self.certificate.display(), "changed certificate not taken up")
                    }
                }
            }
        }
        self.current.load_full()
    }
}

impl NamedIdentities {
    pub fn new(
        default: Arc<dyn ResolvesServerCert>,
        files: Option<FileIdentity>,
        named: Vec<FileIdentity>,
    ) -> Arc<Self> {
        Arc::new(Self { default, files, named })
    }

    fn named(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let parent = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let loaded: Vec<Arc<Loaded>> = self.named.iter().map(FileIdentity::get).collect();
        let find = |wanted: &str| loaded.iter().find(|loaded| loaded.names.iter().any(|known| known == wanted));
        find(&name).or_else(|| find(parent.as_deref()?)).map(|loaded| Arc::clone(&loaded.key))
    }
}

impl ResolvesServerCert for NamedIdentities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(key) = hello.server_name().and_then(|name| self.named(name)) {
            return Some(key);
        }
        match &self.files {
            Some(files) => Some(Arc::clone(&files.get().key)),
            None => self.default.resolve(hello),
        }
    }
}

fn stamp(certificate: &Path, key: &Path) -> (Option<SystemTime>, Option<SystemTime>) {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    (changed(certificate), changed(key))
}

fn load(certificate: &Path, key: &Path, names: &[String]) -> Result<Loaded, PkiError> {
    // Before the reading, so that a change meanwhile is seen the next time.
    let stamp = stamp(certificate, key);
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| PkiError::Pem { name: path.display().to_string(), detail: error.to_string() })
    };
    let loaded = serving_key(&read(certificate)?, &read(key)?)?;
    let names = if names.is_empty() { names_of(&loaded) } else { names.to_vec() };
    Ok(Loaded { key: Arc::new(loaded), names, stamp })
}

/// The names that a certificate says it is for.
fn names_of(key: &CertifiedKey) -> Vec<String> {
    let Some(leaf) = key.cert.first() else { return Vec::new() };
    let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(leaf) else { return Vec::new() };
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(dns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, CertificateSpec, ServingIdentity};

    fn write(authority: &Authority, directory: &Path, name: &str, dns: &str) -> (PathBuf, PathBuf) {
        let spec = CertificateSpec::server(name, vec![dns.to_owned()], Vec::new());
        let (certificate, key) = authority.issue(name, &spec).unwrap();
        let paths = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        std::fs::write(&paths.0, certificate).unwrap();
        std::fs::write(&paths.1, key).unwrap();
        paths
    }

    #[test]
    fn the_name_chooses_and_changed_files_are_taken_up() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "ca").unwrap();
        let (certificate, key) =
            authority.issue("default", &CertificateSpec::server("default", vec!["d".to_owned()], Vec::new())).unwrap();
        let default = ServingIdentity::new(&certificate, &key).unwrap();
        let own = write(&authority, directory.path(), "own", "own.example.com");
        let wide = write(&authority, directory.path(), "wide", "x.example.com");
        let named = vec![
            FileIdentity::open(&own.0, &own.1, Vec::new()).unwrap(),
            FileIdentity::parse(&format!("{},{}:*.example.com", wide.0.display(), wide.1.display())).unwrap(),
        ];
        let identities = NamedIdentities::new(default, None, named);
        let of = |name: &str| identities.named(name).map(|key| names_of(&key)).unwrap_or_default();
        assert_eq!(of("OWN.example.com"), ["own.example.com"]);
        assert_eq!(of("other.example.com"), ["x.example.com"]);
        assert!(of("a.b.example.com").is_empty() && of("else").is_empty());

        write(&authority, directory.path(), "own", "new.example.com");
        let long_ago = SystemTime::now() - Duration::from_secs(100);
        std::fs::File::options().write(true).open(&own.0).unwrap().set_modified(long_ago).unwrap();
        *identities.named[0].looked.lock().unwrap() = Instant::now() - FRESH;
        assert_eq!(of("new.example.com"), ["new.example.com"]);
        // What cannot be read leaves the old one.
        std::fs::write(&own.0, "broken").unwrap();
        *identities.named[0].looked.lock().unwrap() = Instant::now() - FRESH;
        assert_eq!(of("new.example.com"), ["new.example.com"]);
        assert!(FileIdentity::parse("only-one").is_err());
    }
}
