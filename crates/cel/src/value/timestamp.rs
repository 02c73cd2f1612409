//! Points in time of the years 1 to 9999, all of which the language has (`jiff`'s own end a day earlier).

use std::fmt;

use jiff::{ToSpan as _, civil, tz::TimeZone};

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 1970, rounded down.
    seconds: i64,
    nanos: u32,
}

const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;
const NANOS: i128 = 1_000_000_000;
const DAY: i64 = 86_400;

impl Timestamp {
    /// None when it is out of range.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        ((FIRST..=LAST).contains(&seconds) && nanos < 1_000_000_000).then_some(Self { seconds, nanos })
    }

    /// Nanoseconds since 1970.
    pub fn from_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok()?;
        Self::new(seconds, u32::try_from(nanos.rem_euclid(NANOS)).ok()?)
    }

    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// Since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// The zero of Go's times, year 1.
    pub(crate) fn is_zero(self) -> bool {
        self.seconds == FIRST && self.nanos == 0
    }

    /// Date and time in UTC as a clock there shows them.
    pub(crate) fn from_civil(date: civil::Date, time: civil::Time) -> Option<Self> {
        let days = date.since(civil::date(1970, 1, 1)).ok()?.get_days();
        let clock = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
        Self::new(i64::from(days) * DAY + clock, u32::try_from(time.subsec_nanosecond()).ok()?)
    }

    /// What a clock in a time zone shows.
    pub(crate) fn in_zone(self, zone: &TimeZone) -> Option<civil::DateTime> {
        let known = jiff::Timestamp::new(self.seconds, 0).unwrap_or(if self.seconds > 0 {
            jiff::Timestamp::MAX
        } else {
            jiff::Timestamp::MIN
        });
        let seconds = self.seconds + i64::from(zone.to_offset(known).seconds());
        let date = civil::date(1970, 1, 1).checked_add(seconds.div_euclid(DAY).days()).ok()?;
        let clock = i32::try_from(seconds.rem_euclid(DAY)).ok()?;
        let part = |value: i32| i8::try_from(value).ok();
        let nanos = i32::try_from(self.nanos).ok()?;
        let time = civil::Time::new(part(clock / 3600)?, part(clock / 60 % 60)?, part(clock % 60)?, nanos).ok()?;
        Some(date.to_datetime(time))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with as many digits of the second as there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_zone(&TimeZone::UTC) {
            Some(shown) => write!(f, "{shown}Z"),
            None => Err(fmt::Error),
        }
    }
}
