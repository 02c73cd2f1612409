//! The codec that the store uses: which value is encrypted how, and what a value read back is.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use engine::{Codec, EngineError, Layout, Mark, Template};

use crate::SealError;
use crate::config::{ConfigError, Configuration};
use crate::kms::KmsRuntime;
use crate::provider::{ENCRYPTED, Marks, Providers};

/// What upstream puts before protobuf.
const ENVELOPE: &[u8] = b"k8s\0";

/// Makes the store's form of what another program wrote: protobuf, or JSON in another order.
pub trait Foreign: Send + Sync + 'static {
    /// `None` when it is nothing that is known.
    fn template(&self, resource: &str, bytes: &[u8]) -> Option<Template>;

    /// Whether JSON that could be taken as it is has to go through `template` all the same.
    fn is_older(&self, _json: &[u8]) -> bool {
        false
    }
}

/// Encryption at rest, as configured at the moment.
pub struct AtRest {
    providers: ArcSwap<Providers>,
    layout: Arc<Layout>,
    foreign: Option<Arc<dyn Foreign>>,
    marks: Arc<Marks>,
    runtime: Arc<KmsRuntime>,
}

// === impl AtRest ===

impl AtRest {
    /// Reaches out to KMS plugins, if there are any, and waits for their first answer.
    pub fn new(
        configuration: &Configuration,
        layout: Arc<Layout>,
        foreign: Option<Arc<dyn Foreign>>,
    ) -> Result<AtRest, ConfigError> {
        let (marks, runtime) = (Arc::new(Marks::default()), Arc::new(KmsRuntime::default()));
        let providers = ArcSwap::from_pointee(Providers::new(configuration, &marks, &runtime)?);
        Ok(AtRest { providers, layout, foreign, marks, runtime })
    }

    /// Uses another configuration from now on. Blocks while a new KMS plugin is asked for the first time.
    pub fn replace(&self, configuration: &Configuration) -> Result<(), ConfigError> {
        let providers = Providers::new(configuration, &self.marks, &self.runtime)?;
        self.providers.store(Arc::new(providers));
        Ok(())
    }

    #[must_use]
    pub fn has_plugins(&self) -> bool {
        !self.providers.load().plugins.is_empty()
    }

    /// The KMS plugins that do not answer as they should, and what they say. Upstream: `/healthz/kms-providers`.
    #[must_use]
    pub fn unhealthy_plugins(&self) -> Vec<(String, String)> {
        let providers = self.providers.load();
        providers.plugins.iter().filter_map(|plugin| Some((plugin.name().to_owned(), plugin.trouble()?))).collect()
    }

    /// Brings the bytes of an object into the store's form.
    fn template(&self, resource: &str, bytes: Bytes) -> Result<Template, SealError> {
        let is_older = self.foreign.as_ref().is_some_and(|foreign| foreign.is_older(&bytes));
        if let Some(template) = Template::from_json(&bytes).filter(|_| !is_older) {
            return Ok(template);
        }
        let foreign = self.foreign.as_ref().and_then(|foreign| foreign.template(resource, &bytes));
        foreign.ok_or(SealError::NotAnObject)
    }
}

impl Codec for AtRest {
    fn seal(&self, resource: &str, path: &str, value: &Template) -> Result<(Template, Mark), EngineError> {
        let providers = self.providers.load();
        let Some(chain) = providers.chain(resource) else { return Ok((value.clone(), Mark::default())) };
        let sealed = chain.seal(&value.to_json(), &self.layout.key(resource, path));
        let (sealed, mark) = sealed.map_err(|error| failed(&Arc::from(resource), &Arc::from(path), error))?;
        Ok((sealed.map_or_else(|| value.clone(), |sealed| Template::whole(sealed.into())), mark))
    }

    fn open(&self, resource: &Arc<str>, path: &Arc<str>, kept: Template) -> Result<(Template, Mark), EngineError> {
        if !kept.tail.is_empty() && resource.as_bytes() != b"secrets" && self.providers.load().chain(resource).is_none()
        {
            return Ok((kept, Mark::default()));
        }
        let opened = || {
            let providers = self.providers.load();
            let chain = providers.chain(resource);
            if kept.tail.is_empty() && kept.head.starts_with(ENCRYPTED) {
                let Some(chain) = chain else { return Err(SealError::Identity) };
                let (plain, mark) = chain.open(&kept.head, &self.layout.key(resource, path))?;
                return Ok((self.template(resource, plain.into())?, mark));
            }
            if chain.is_some_and(|chain| !chain.takes_plain()) {
                return Err(SealError::NoProvider);
            }
            match kept.tail.is_empty() {
                true => Ok((self.template(resource, kept.head.clone())?, Mark::default())),
                false => Ok((kept.clone(), Mark::default())),
            }
        };
        opened().map_err(|error| match error {
            SealError::NotAnObject if kept.tail.is_empty() && kept.head.starts_with(ENVELOPE) => {
                EngineError::OtherVersion { resource: Arc::clone(resource), path: Arc::clone(path) }
            }
            error => failed(resource, path, error),
        })
    }

    fn mark(&self, resource: &str) -> Mark {
        self.providers.load().chain(resource).map_or(Mark::default(), |chain| chain.mark())
    }
}

fn failed(resource: &Arc<str>, path: &Arc<str>, error: SealError) -> EngineError {
    EngineError::Sealed { resource: Arc::clone(resource), path: Arc::clone(path), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const ONES: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn configuration(providers: &str) -> Configuration {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
             resources:\n- resources: [secrets, '*.example.com']\n  providers:\n{providers}"
        );
        Configuration::parse(&text).unwrap()
    }

    fn at_rest(providers: &str) -> AtRest {
        let layout = Arc::new(Layout::new("/registry", ["secrets".to_owned(), "pods".to_owned()]));
        AtRest::new(&configuration(providers), layout, None).unwrap()
    }

    fn secret() -> Template {
        let text =
            br#"{"apiVersion":"v1","kind":"Secret","metadata":{"resourceVersion":"","name":"a"},"data":{"k":"dG9w"}}"#;
        let at = text.windows(2).position(|two| two == b"\"\"").unwrap() + 1;
        Template::split(Bytes::from_static(text), at)
    }

    fn gcm(keys: &[(&str, &str)]) -> String {
        let keys: Vec<String> =
            keys.iter().map(|(name, secret)| format!("{{name: {name}, secret: {secret}}}")).collect();
        format!("  - aesgcm: {{keys: [{}]}}\n", keys.join(", "))
    }

    fn open(codec: &AtRest, path: &str, kept: &Template) -> Result<(Template, Mark), EngineError> {
        codec.open(&Arc::from("secrets"), &Arc::from(path), kept.clone())
    }

    #[test]
    fn a_secret_is_kept_as_upstream_keeps_it_and_is_bound_to_its_place() {
        let codec = at_rest(&gcm(&[("key1", ZERO)]));
        let (kept, mark) = codec.seal("secrets", "default/a", &secret()).unwrap();
        assert!(kept.head.starts_with(b"k8s:enc:aesgcm:v1:key1:") && kept.tail.is_empty());
        assert!(!kept.head.windows(4).any(|four| four == b"dG9w"));
        assert_eq!(open(&codec, "default/a", &kept).unwrap(), (secret(), mark));
        assert_eq!(codec.mark("secrets"), mark);
        assert!(open(&codec, "default/b", &kept).is_err());
        // Other resources are left alone.
        assert_eq!(codec.seal("pods", "default/a", &secret()).unwrap(), (secret(), Mark(0)));
        assert!(codec.seal("widgets.example.com", "a", &secret()).unwrap().0.head.starts_with(ENCRYPTED));
    }

    #[test]
    fn a_key_is_rotated() {
        let codec = at_rest(&gcm(&[("key1", ZERO)]));
        let (kept, old) = codec.seal("secrets", "default/a", &secret()).unwrap();
        codec.replace(&configuration(&gcm(&[("key2", ONES), ("key1", ZERO)]))).unwrap();
        assert_eq!(open(&codec, "default/a", &kept).unwrap().1, old);
        assert_ne!(codec.mark("secrets"), old);
        let (kept_anew, new) = codec.seal("secrets", "default/a", &secret()).unwrap();
        codec.replace(&configuration(&gcm(&[("key2", ONES)]))).unwrap();
        assert_eq!(open(&codec, "default/a", &kept_anew).unwrap(), (secret(), new));
        assert!(open(&codec, "default/a", &kept).is_err());
        // The same name with another secret is another key.
        codec.replace(&configuration(&gcm(&[("key2", ZERO)]))).unwrap();
        assert_ne!(codec.mark("secrets"), new);
        assert!(open(&codec, "default/a", &kept_anew).is_err());
    }

    #[test]
    fn plain_text_is_read_only_where_identity_is_a_provider() {
        let strict = at_rest(&gcm(&[("key1", ZERO)]));
        assert!(open(&strict, "default/a", &secret()).is_err());
        let lenient = at_rest(&format!("{}  - identity: {{}}\n", gcm(&[("key1", ZERO)])));
        assert_eq!(open(&lenient, "default/a", &secret()).unwrap(), (secret(), Mark(0)));
        assert_ne!(lenient.mark("secrets"), Mark(0));
        // As bytes of etcd.
        assert_eq!(open(&lenient, "default/a", &Template::whole(secret().to_json())).unwrap().0, secret());
        // Decrypting for good.
        let identity = at_rest(&format!("  - identity: {{}}\n{}", gcm(&[("key1", ZERO)])));
        let (kept, _) = strict.seal("secrets", "default/a", &secret()).unwrap();
        assert_eq!(open(&identity, "default/a", &kept).unwrap().0, secret());
        assert_eq!(identity.seal("secrets", "default/a", &secret()).unwrap(), (secret(), Mark(0)));
    }

    #[test]
    fn every_provider_is_read_by_a_server_that_prefers_another() {
        let secretbox = format!("  - secretbox: {{keys: [{{name: s, secret: {ONES}}}]}}\n");
        let cbc = format!("  - aescbc: {{keys: [{{name: c, secret: {ZERO}}}]}}\n");
        for (first, second, prefix) in
            [(&secretbox, &cbc, "k8s:enc:secretbox:v1:s:"), (&cbc, &secretbox, "k8s:enc:aescbc:v1:c:")]
        {
            let (kept, _) = at_rest(&format!("{first}{second}")).seal("secrets", "x/y", &secret()).unwrap();
            assert!(kept.head.starts_with(prefix.as_bytes()));
            let other = at_rest(&format!("{second}{first}"));
            let (opened, mark) = open(&other, "x/y", &kept).unwrap();
            assert_eq!(opened, secret());
            assert_ne!(mark, other.mark("secrets"));
        }
    }
}
