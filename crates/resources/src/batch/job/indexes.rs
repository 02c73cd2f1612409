//! Sets of indexes as jobs write them: `1,3-5,7`. Upstream: `validateIndexesFormat`.

use apimachinery::field::go_quote;

/// How many indexes a text names; they must be in order and below `completions`.
pub(super) fn count(text: &str, completions: i32) -> Result<i32, String> {
    let mut total: i32 = 0;
    let mut last: Option<i32> = None;
    if text.is_empty() {
        return Ok(0);
    }
    for interval in text.split(',') {
        let (first, end) = interval_of(interval, completions)?;
        if let Some(last) = last
            && last >= first
        {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total = total.saturating_add(end - first + 1);
        last = Some(end);
    }
    Ok(total)
}

/// The first index that both texts name. Malformed intervals are passed over.
pub(super) fn overlap(completed: &str, failed: &str, completions: i32) -> Option<i32> {
    let intervals = |text: &str| -> Vec<(i32, i32)> {
        text.split(',').filter_map(|interval| interval_of(interval, completions).ok()).collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let both = completed.iter().flat_map(|completed| failed.iter().map(move |failed| (completed, failed)));
    both.filter(|(a, b)| a.0 <= b.1 && b.0 <= a.1).map(|(a, b)| a.0.max(b.0)).min()
}

fn interval_of(text: &str, completions: i32) -> Result<(i32, i32), String> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            go_quote(text)
        ));
    }
    let number = |text: &str| -> Result<i32, String> {
        let number: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", go_quote(text)))?;
        let small = i32::try_from(number).ok().filter(|number| *number < completions);
        small.ok_or_else(|| format!("too large index: {}", go_quote(text)))
    };
    let first = number(parts[0])?;
    let Some(end) = parts.get(1) else { return Ok((first, first)) };
    let end = number(end)?;
    if first >= end {
        return Err(format!("non-increasing order, previous: {first}, current: {end}"));
    }
    Ok((first, end))
}

#[cfg(test)]
mod tests {
    use super::{count, overlap};

    #[test]
    fn intervals_are_counted() {
        assert_eq!(count("", 5), Ok(0));
        assert_eq!(count("0,2-4", 5), Ok(4));
        assert_eq!(count("0,2-4", 4), Err(r#"too large index: "4""#.to_owned()));
        assert_eq!(count("2,1", 5), Err("non-increasing order, previous: 2, current: 1".to_owned()));
        assert_eq!(count("x", 5), Err(r#"cannot convert string to integer for index: "x""#.to_owned()));
    }

    #[test]
    fn overlaps_are_found() {
        assert_eq!(overlap("0-2", "3,4", 5), None);
        assert_eq!(overlap("0-2,4", "1,4", 5), Some(1));
        assert_eq!(overlap("", "1", 5), None);
    }
}
