//! Which tag an image reference names, only as far as the default pull policy needs it.
//!
//! Must not resolve, pull or rewrite references. Upstream counterpart: `pkg/util/parsers.ParseImageName` over
//! `distribution/reference`.

/// Longest repository name that a reference may have.
const MAX_NAME: usize = 255;

/// Whether the reference is well-formed and means the tag `latest`, explicitly or by naming neither tag nor digest.
pub(crate) fn is_latest(image: &str) -> bool {
    tag(image) == Some("latest")
}

/// The tag; `latest` when there is neither tag nor digest; empty with a digest only; `None` when malformed.
fn tag(image: &str) -> Option<&str> {
    if image.len() == 64 && image.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None; // an image id is not a name
    }
    let (domain, rest) = split_domain(image);
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) if is_digest(digest) => (rest, true),
        Some(_) => return None,
        None => (rest, false),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) if is_tag(tag) => (path, Some(tag)),
        Some(_) => return None,
        None => (rest, None),
    };
    let long = domain.map_or(0, |domain| domain.len() + 1) + path.len() > MAX_NAME;
    if long || !domain.is_none_or(is_domain) || path.is_empty() || !path.split('/').all(is_path_component) {
        return None;
    }
    Some(match (tag, digest) {
        (Some(tag), _) => tag,
        (None, true) => "",
        (None, false) => "latest",
    })
}

fn split_domain(image: &str) -> (Option<&str>, &str) {
    match image.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, image),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !domain.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Lower-case words joined by `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(*first) || !word(*last) {
        return false;
    }
    bytes
        .split(|b| word(*b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    !algorithm.is_empty()
        && algorithm.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'.'))
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn tags_are_found_as_upstream_finds_them() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        for (image, expected) in [
            ("nginx", Some("latest")),
            ("nginx:latest", Some("latest")),
            ("nginx:1.25", Some("1.25")),
            (&digest, Some("")),
            ("localhost:5000/a/b", Some("latest")),
            ("registry.example:5000/a_b/c--d:v1", Some("v1")),
            ("Nginx", None),
            ("a//b", None),
            ("nginx:", None),
            ("", None),
            ("a___b", None),
            (&"a".repeat(64), None),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
