//! Shuffle sharding: which few of many queues a flow may use, so that no flow can fill them all. Pure.
//!
//! Upstream: `util/shufflesharding`.

/// Upstream's `MaxHashBits` allows no larger hand.
pub(super) const LARGEST_HAND: usize = 10;

/// Deals `hand` distinct queues of `deck`, the same ones for the same hash. None when `hand` is none or too large.
pub(super) fn deal(mut hash: u64, deck: usize, hand: usize) -> impl Iterator<Item = usize> {
    let mut cards = [0_usize; LARGEST_HAND];
    let hand = hand.min(LARGEST_HAND).min(deck);
    for (index, card) in cards.iter_mut().enumerate().take(hand) {
        let left = (deck - index) as u64;
        *card = usize::try_from(hash % left).unwrap_or_default();
        hash /= left;
    }
    let remainders = cards;
    for (index, card) in cards.iter_mut().enumerate().take(hand) {
        for earlier in remainders[..index].iter().rev() {
            *card += usize::from(*card >= *earlier);
        }
    }
    cards.into_iter().take(hand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_are_distinct_and_fair() {
        let mut counts = [0_u32; 16];
        for flow in 0..20_000_u64 {
            let hash = flow.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut hand: Vec<usize> = deal(hash, 16, 4).collect();
            hand.iter().for_each(|card| counts[*card] += 1);
            hand.sort_unstable();
            hand.dedup();
            assert_eq!(hand.len(), 4);
        }
        assert!(counts.iter().all(|count| (4_500..5_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn small_hands_of_known_hashes() {
        let hand = |hash| deal(hash, 128, 9).collect::<Vec<_>>();
        assert_eq!(hand(0), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(deal(7, 1, 1).collect::<Vec<_>>(), [0]);
        assert_eq!(deal(u64::MAX, 4, 4).count(), 4);
    }
}
