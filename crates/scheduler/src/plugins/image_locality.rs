//! ImageLocality: nodes that have the pod's images already are better.

use super::Plugin;
use crate::{
    columns::{Columns, Row},
    cycle::MAX_SCORE,
    pod::PodInfo,
};

const MEBIBYTE: i64 = 1024 * 1024;
const MIN: i64 = 23 * MEBIBYTE;
const MAX_PER_CONTAINER: i64 = 1000 * MEBIBYTE;

pub(super) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn score(&self, columns: &Columns, pod: &PodInfo, rows: &[Row], scores: &mut [i64]) -> bool {
        let nodes = i64::try_from(columns.len()).unwrap_or(1).max(1);
        let max = MAX_PER_CONTAINER * i64::try_from(pod.images.len()).unwrap_or(1).max(1);
        for (row, score) in rows.iter().zip(scores.iter_mut()) {
            // An image that few nodes have counts less, so that not all pods go where the first one went.
            let present: i64 = pod
                .images
                .iter()
                .filter_map(|image| {
                    let size = columns.images[*row].get(image)?;
                    let spread = i64::try_from(*columns.image_spread.get(image)?).ok()?;
                    Some(size.saturating_mul(spread) / nodes)
                })
                .sum();
            *score = MAX_SCORE * (present.clamp(MIN, max) - MIN) / (max - MIN);
        }
        true
    }
}
