//! The bandwidth annotations of a pod. Pure. Upstream: `pkg/util/bandwidth` and the CNI plugin `bandwidth`.

use apimachinery::Quantity;
use cri::StringMap;

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// Limits upstream puts on both, in bits a second.
const LEAST: i64 = 1_000;
const MOST: i64 = 1_000_000_000_000_000;

/// Bytes a second to and from a pod; `None` is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bandwidth {
    pub(crate) ingress: Option<u64>,
    pub(crate) egress: Option<u64>,
}

impl Bandwidth {
    pub(crate) fn of(annotations: &StringMap) -> Result<Self, String> {
        let read = |name: &str| -> Result<Option<u64>, String> {
            let Some(text) = annotations.get(name) else { return Ok(None) };
            let quantity: Quantity = text.parse().map_err(|error| format!("annotation {name}: {error}"))?;
            let bits = quantity.value();
            if bits < LEAST {
                return Err(format!("annotation {name}: resource is unreasonably small (< 1kbit)"));
            }
            if bits > MOST {
                return Err(format!("annotation {name}: resource is unreasonably large (> 1Pbit)"));
            }
            Ok(u64::try_from(bits / 8).ok())
        };
        Ok(Self { ingress: read(INGRESS)?, egress: read(EGRESS)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ingress: &str) -> Result<Option<u64>, String> {
        let annotations = [(INGRESS.to_owned(), ingress.to_owned())].into();
        Bandwidth::of(&annotations).map(|bandwidth| bandwidth.ingress)
    }

    #[test]
    fn bits_become_bytes_within_limits() {
        assert_eq!(Bandwidth::of(&StringMap::new()), Ok(Bandwidth::default()));
        assert_eq!(of("10M"), Ok(Some(1_250_000)));
        assert!(of("1").is_err());
        assert!(of("2P").is_err());
        assert!(of("fast").is_err());
    }
}
