//! Pod templates: their hash, and whether two are the same. Upstream: `pkg/controller` `ComputeHash`,
//! `pkg/controller/deployment/util` `EqualIgnoreHash`.

use crate::core::v1::PodTemplateSpec;

/// The label that tells the pods of one ReplicaSet of a Deployment from those of another.
pub const HASH_LABEL: &str = "pod-template-hash";

/// The characters of generated names: no vowels, so that no words form. Upstream: `rand.SafeEncodeString`.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short name for a template; another one after each collision.
pub fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut hash = Fnv32a::new();
    // Maps in it are ordered, so equal templates have equal bytes; serialising to memory cannot fail.
    hash.write(&serde_json::to_vec(template).unwrap_or_default());
    if let Some(count) = collisions {
        hash.write(&u64::try_from(count).unwrap_or(0).to_le_bytes());
    }
    safe_encode(&hash.0.to_string())
}

/// Whether two templates differ in nothing but the hash label.
pub fn equal_ignoring_hash(one: &PodTemplateSpec, other: &PodTemplateSpec) -> bool {
    if one.spec != other.spec {
        return false;
    }
    let without_hash = |template: &PodTemplateSpec| {
        let mut meta = template.metadata.clone().unwrap_or_default();
        if let Some(labels) = meta.labels.as_mut() {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.filter(|annotations| !annotations.is_empty());
        meta
    };
    without_hash(one) == without_hash(other)
}

fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(SAFE[usize::from(byte) % SAFE.len()])).collect()
}

struct Fnv32a(u32);

impl Fnv32a {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(image: &str, label: Option<&str>) -> PodTemplateSpec {
        let mut value = serde_json::json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image}]},
        });
        if let Some(label) = label {
            value["metadata"]["labels"][HASH_LABEL] = label.into();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn encoding_is_upstreams() {
        // The published FNV-1a value of "hello"; the digits 0 to 9 are encoded as 4 5 6 7 8 9 b c d f.
        let mut hash = Fnv32a::new();
        hash.write(b"hello");
        assert_eq!(hash.0, 1_335_831_723);
        assert_eq!(safe_encode("1335831723"), "5779d75c67");
    }

    #[test]
    fn collisions_and_contents_change_the_hash() {
        let one = template("nginx:1", None);
        assert_eq!(hash(&one, None), hash(&one.clone(), None));
        assert_ne!(hash(&one, None), hash(&one, Some(1)));
        assert_ne!(hash(&one, None), hash(&template("nginx:2", None), None));
    }

    #[test]
    fn the_hash_label_does_not_count() {
        assert!(equal_ignoring_hash(&template("nginx:1", None), &template("nginx:1", Some("abc"))));
        assert!(!equal_ignoring_hash(&template("nginx:1", None), &template("nginx:2", None)));
    }
}
