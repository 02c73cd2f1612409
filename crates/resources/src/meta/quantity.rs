//! Quantities as the typed structs carry them, text, read as amounts.

use apimachinery::Quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// The amount; none when malformed, which decoding has refused already.
pub(crate) fn parse(text: &Text) -> Option<Quantity> {
    text.0.parse().ok()
}

/// As [`parse`], with zero for what is malformed or absent.
pub(crate) fn amount(text: Option<&Text>) -> Quantity {
    text.and_then(parse).unwrap_or(Quantity::ZERO)
}

pub(crate) fn is_negative(text: &Text) -> bool {
    parse(text).is_some_and(|amount| amount.sign() < 0)
}

pub(crate) fn to_text(amount: Quantity) -> Text {
    Text(amount.to_string())
}

/// The canonical form: every quantity is stored in it.
pub(crate) fn canonicalize(text: &mut Text) {
    if let Some(amount) = parse(text) {
        text.0 = amount.to_string();
    }
}

/// Canonical and without anything finer than a thousandth (`SetDefaults_ResourceList`).
pub(crate) fn round_up_to_milli(text: &mut Text) {
    const NANOS_PER_MILLI: i128 = 1_000_000;
    let Some(amount) = parse(text) else { return };
    let rounded = amount.nanos() % NANOS_PER_MILLI != 0;
    let amount = if rounded { Quantity::from_millis(amount.milli_value()) } else { amount };
    text.0 = amount.to_string();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_stored_canonically() {
        for (given, stored) in [("0.5", "500m"), ("1024Mi", "1Gi"), ("1000", "1k"), ("100u", "1m"), ("x", "x")] {
            let mut text = Text(given.to_owned());
            round_up_to_milli(&mut text);
            assert_eq!(text.0, stored, "{given}");
        }
    }
}
