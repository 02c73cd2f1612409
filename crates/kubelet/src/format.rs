//! Texts as upstream prints them.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;

/// `name_namespace(uid)`. Upstream: pkg/kubelet/util/format `Pod`.
pub(crate) fn pod_full_name(pod: &Pod) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    format!("{}_{}({})", text(&pod.metadata.name), text(&pod.metadata.namespace), text(&pod.metadata.uid))
}

/// A duration as Go's `time.Duration.String` prints it: `1m30s`, `1.5s`, `250ms`, `0s`.
pub(crate) fn go_duration(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, scale) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", fraction(nanos, scale));
    }
    let total = nanos / 1_000_000_000;
    let rest = fraction(nanos - (total / 60) * 60 * 1_000_000_000, 1_000_000_000);
    match (total / 3600, (total / 60) % 60) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, minutes) => format!("{sign}{minutes}m{rest}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}

fn fraction(value: u128, scale: u128) -> String {
    let (whole, rest) = (value / scale, value % scale);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = scale.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
}

/// A list of strings as Go's `%v` prints it: `[a b]`.
pub(crate) fn go_list(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        let nanos = |nanos: i64| go_duration(SignedDuration::from_nanos(nanos));
        assert_eq!(nanos(0), "0s");
        assert_eq!(nanos(15), "15ns");
        assert_eq!(nanos(1_500), "1.5µs");
        assert_eq!(nanos(250_000_000), "250ms");
        assert_eq!(nanos(1_020_000_000), "1.02s");
        assert_eq!(nanos(40_000_000_000), "40s");
        assert_eq!(nanos(160_000_000_000), "2m40s");
        assert_eq!(nanos(300_000_000_000), "5m0s");
        assert_eq!(nanos(3_600_500_000_000), "1h0m0.5s");
        assert_eq!(nanos(-2_000_000_000), "-2s");
    }
}
