//! Who gets how many of the seats that can be lent: a fair division between bounds. Pure.
//!
//! Upstream: `util/flowcontrol/conc_alloc.go`.

/// One priority level: `lower <= allocation <= upper`, as near to a common proportion of `target` as that allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) target: f64,
}

const LEAST_TARGET: f64 = 0.001;

/// Allocations that sum to `sum`. None when the bounds do not allow it.
pub(super) fn divide(sum: f64, claims: &[Claim]) -> Option<Vec<f64>> {
    let total = |of: fn(&Claim) -> f64| claims.iter().map(of).sum::<f64>();
    if claims.iter().any(|claim| claim.lower < 0.0 || claim.upper < claim.lower)
        || total(|claim| claim.lower) > sum + 1e-7
        || total(|claim| claim.upper) < sum - 1e-7
    {
        return None;
    }
    let at = |proportion: f64| -> Vec<f64> {
        claims
            .iter()
            .map(|claim| (proportion * claim.target.max(LEAST_TARGET)).clamp(claim.lower, claim.upper))
            .collect()
    };
    // What is given grows with the proportion, in straight pieces between the bounds: find the piece, then the place.
    let mut bounds: Vec<f64> = claims
        .iter()
        .flat_map(|claim| [claim.lower, claim.upper].map(|bound| bound / claim.target.max(LEAST_TARGET)))
        .collect();
    bounds.sort_by(f64::total_cmp);
    let given = |proportion: f64| at(proportion).iter().sum::<f64>();
    let piece = bounds.partition_point(|bound| given(*bound) < sum);
    let (low, high) = match (piece.checked_sub(1).and_then(|index| bounds.get(index)), bounds.get(piece)) {
        (Some(low), Some(high)) => (*low, *high),
        (None, Some(high)) => return Some(at(*high)),
        (_, None) => return Some(at(f64::MAX)),
    };
    let (below, above) = (given(low), given(high));
    let part = if above > below { (sum - below) / (above - below) } else { 0.0 };
    Some(at(low + (high - low) * part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sum: f64, claims: &[(f64, f64, f64)], expected: &[f64]) {
        let claims: Vec<Claim> = claims
            .iter()
            .map(|(lower, upper, target)| Claim { lower: *lower, upper: *upper, target: *target })
            .collect();
        let allocations = divide(sum, &claims).unwrap();
        for (got, wanted) in allocations.iter().zip(expected) {
            assert!((got - wanted).abs() < 1e-5, "{claims:?}: {allocations:?}");
        }
    }

    #[test]
    fn seats_are_divided_fairly_within_bounds() {
        check(100.0, &[(0.0, 100.0, 10.0), (0.0, 100.0, 30.0)], &[25.0, 75.0]);
        check(100.0, &[(40.0, 100.0, 10.0), (0.0, 100.0, 30.0)], &[40.0, 60.0]);
        check(100.0, &[(0.0, 10.0, 10.0), (0.0, 100.0, 10.0)], &[10.0, 90.0]);
        check(10.0, &[(5.0, 50.0, 5.0), (5.0, 50.0, 5.0)], &[5.0, 5.0]);
        check(100.0, &[(5.0, 50.0, 5.0), (5.0, 50.0, 5.0)], &[50.0, 50.0]);
        check(60.0, &[(10.0, 100.0, 10.0), (10.0, 20.0, 40.0), (0.0, 100.0, 0.0)], &[39.996, 20.0, 0.004]);
        assert!(divide(1.0, &[Claim { lower: 2.0, upper: 3.0, target: 2.0 }]).is_none());
    }

    proptest::proptest! {
        #[test]
        fn the_sum_is_kept(claims in proptest::collection::vec((0.0..50.0_f64, 0.0..50.0_f64, 0.0..100.0_f64), 1..12), part in 0.0..1.0_f64) {
            let claims: Vec<Claim> = claims
                .into_iter()
                .map(|(lower, more, target)| Claim { lower, upper: lower + more, target: target.max(lower) })
                .collect();
            let (low, high): (f64, f64) = (claims.iter().map(|claim| claim.lower).sum(), claims.iter().map(|claim| claim.upper).sum());
            let sum = low + (high - low) * part;
            let allocations = divide(sum, &claims).unwrap();
            proptest::prop_assert!((allocations.iter().sum::<f64>() - sum).abs() < 1e-3, "{:?} {} {:?}", claims, sum, allocations);
        }
    }
}
