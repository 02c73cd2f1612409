//! What a reader of logs asks for. Upstream: core/v1 `PodLogOptions` and its validation.

use jiff::{SignedDuration, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
    pub since: Option<Timestamp>,
    /// `Some(true)`: standard output only; `Some(false)`: standard error only.
    pub stdout_only: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OptionsError(String);

impl LogOptions {
    /// From a request's query.
    pub(crate) fn parse(query: &[(String, String)], now: Timestamp) -> Result<Self, OptionsError> {
        let mut options = LogOptions::default();
        let bad = |name: &str, value: &str| OptionsError(format!("invalid value {value:?} for {name}"));
        let flag = |value: &str| matches!(value, "" | "1" | "true" | "True" | "TRUE" | "t" | "T");
        let mut since_seconds = None;
        for (name, value) in query {
            let number = || value.parse::<i64>().map_err(|_| bad(name, value));
            let positive = |number: i64, least: i64| {
                u64::try_from(number).ok().filter(|_| number >= least).ok_or_else(|| bad(name, value))
            };
            match name.as_str() {
                "follow" => options.follow = flag(value),
                "previous" => options.previous = flag(value),
                "timestamps" => options.timestamps = flag(value),
                "tailLines" | "tail" if value != "all" && !value.is_empty() => {
                    options.tail_lines = Some(positive(number()?, 0)?)
                }
                "limitBytes" if !value.is_empty() => options.limit_bytes = Some(positive(number()?, 1)?),
                "sinceSeconds" if !value.is_empty() => since_seconds = Some(positive(number()?, 1)?),
                "sinceTime" if !value.is_empty() => options.since = Some(value.parse().map_err(|_| bad(name, value))?),
                "stream" => match value.as_str() {
                    "Stdout" => options.stdout_only = Some(true),
                    "Stderr" => options.stdout_only = Some(false),
                    "All" | "" => {}
                    _ => return Err(bad(name, value)),
                },
                _ => {}
            }
        }
        if let Some(seconds) = since_seconds {
            if options.since.is_some() {
                return Err(OptionsError("at most one of `sinceTime` or `sinceSeconds` may be specified".to_owned()));
            }
            let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            options.since = Some(now.checked_sub(ago).unwrap_or(Timestamp::MIN));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LogOptions, OptionsError> {
        let query: Vec<_> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect();
        LogOptions::parse(&query, Timestamp::from_second(100).unwrap())
    }

    #[test]
    fn options() {
        let options = parse("follow=true&tailLines=5&sinceSeconds=10&stream=Stderr").unwrap();
        assert_eq!((options.follow, options.tail_lines, options.stdout_only), (true, Some(5), Some(false)));
        assert_eq!(options.since, Some(Timestamp::from_second(90).unwrap()));
        assert!(parse("tailLines=-1").is_err());
        assert!(parse("limitBytes=0").is_err());
        assert!(parse("sinceSeconds=1&sinceTime=2024-01-01T00:00:00Z").is_err());
    }
}
