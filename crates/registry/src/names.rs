//! Names made from `generateName`. Upstream: `k8s.io/apiserver/pkg/storage/names`, `util/rand`.

/// No vowels and no look-alikes, so that no word comes out.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const RANDOM_LENGTH: usize = 5;
const MAX_BASE_LENGTH: usize = 63 - RANDOM_LENGTH;

/// `base`, cut to fit a label, and five random characters.
pub fn generate(base: &str) -> String {
    let mut cut = base.len().min(MAX_BASE_LENGTH);
    while !base.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut name = String::with_capacity(cut + RANDOM_LENGTH);
    name.push_str(&base[..cut]);
    for _ in 0..RANDOM_LENGTH {
        name.push(char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::generate;

    #[test]
    fn names_fit_a_label() {
        assert_eq!(generate(&"x".repeat(80)).len(), 63);
        let name = generate("web-");
        assert_eq!(name.len(), 9);
        assert!(name.starts_with("web-"));
        assert!(name[4..].bytes().all(|byte| super::ALPHABET.contains(&byte)), "{name}");
    }
}
