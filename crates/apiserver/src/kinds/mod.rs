//! What a full API server serves: the stored kinds, and those that are a second spelling of one.

mod conversions;

use registry::ResourceHandle;
use resources::Options;

/// Every GA kind, ready for a registry.
pub fn all(options: &Options) -> Vec<ResourceHandle> {
    let mut all: Vec<ResourceHandle> = resources::all(options).into_iter().map(ResourceHandle::from).collect();
    let converted = conversions::all(&all);
    all.extend(converted);
    all
}

#[cfg(test)]
mod tests {
    use resources::Options;

    use super::all;

    #[test]
    fn every_kind_is_in_the_schema_and_there_once() {
        let mut seen = std::collections::HashSet::new();
        for resource in all(&Options::default()) {
            let info = *resource.info();
            assert!(schema::builtin().kind(info.group, info.version, info.kind).is_some(), "{info:?}");
            assert!(seen.insert((info.group, info.version, info.plural)), "{info:?}");
        }
    }
}
