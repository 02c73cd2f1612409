//! Semantic versions. Upstream: `blang/semver`.

use std::{cmp::Ordering, fmt};

use super::{Args, Out};
use crate::{
    error::EvalError,
    value::{Opaque, Value},
};

#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<Pre>,
    build: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pre {
    /// Numbers come before names.
    Number(u64),
    Name(String),
}

impl Semver {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let mut parts = text.splitn(3, '.');
        let (Some(major), Some(minor), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (rest, None),
        };
        let (patch, pre) = match rest.split_once('-') {
            Some((patch, pre)) => (patch, Some(pre)),
            None => (rest, None),
        };
        let numbers = [number(major, "major")?, number(minor, "minor")?, number(patch, "patch")?];
        let pre = pre.into_iter().flat_map(|pre| pre.split('.')).map(pre_release).collect::<Result<_, _>>()?;
        let build = build.into_iter().flat_map(|build| build.split('.')).map(metadata).collect::<Result<_, _>>()?;
        Ok(Self { numbers, pre, build })
    }

    /// With a `v` before, zeros before numbers and numbers left out.
    fn tolerant(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(str::to_owned).collect();
        for part in &mut parts {
            if part.len() > 1 {
                let trimmed = part.trim_start_matches('0');
                let digit = trimmed.starts_with(|c: char| c.is_ascii_digit());
                *part = if digit { trimmed.to_owned() } else { format!("0{trimmed}") };
            }
        }
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".to_owned());
            }
            parts.resize(3, "0".to_owned());
        }
        Self::parse(&parts.join("."))
    }
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {what} number {text:?}"));
    }
    if text.len() > 1 && text.starts_with('0') {
        let what = format!("{}{}", what[..1].to_uppercase(), &what[1..]);
        return Err(format!("{what} number must not contain leading zeroes {text:?}"));
    }
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {text:?}: value out of range"))
}

fn pre_release(text: &str) -> Result<Pre, String> {
    if text.is_empty() {
        return Err("Prerelease is empty".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {text:?}"));
        }
        return text.parse().map(Pre::Number).map_err(|_| "value out of range".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(Pre::Name(text.to_owned()));
    }
    Err(format!("Invalid character(s) found in prerelease {text:?}"))
}

fn metadata(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("Build meta data is empty".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(text.to_owned());
    }
    Err(format!("Invalid character(s) found in build meta data {text:?}"))
}

/// Build metadata does not count.
impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Semver {}
impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.pre.cmp(&other.pre),
        })
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (index, pre) in self.pre.iter().enumerate() {
            f.write_str(if index == 0 { "-" } else { "." })?;
            match pre {
                Pre::Number(number) => write!(f, "{number}")?,
                Pre::Name(name) => f.write_str(name)?,
            }
        }
        for (index, build) in self.build.iter().enumerate() {
            write!(f, "{}{build}", if index == 0 { "+" } else { "." })?;
        }
        Ok(())
    }
}

fn parse(args: &Args<'_, '_>) -> Result<Result<Semver, String>, EvalError> {
    let text = args.string(0)?;
    Ok(match args.get(1) {
        Value::Bool(true) if args.len() == 2 => Semver::tolerant(&text),
        _ => Semver::parse(&text),
    })
}

pub(super) fn semver<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    parse(args)?.map(|version| Value::opaque(Opaque::Semver(version))).map_err(EvalError::text)
}

pub(super) fn is_semver<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(parse(args)?.is_ok()))
}

fn component<'a>(args: &Args<'a, '_>, index: usize) -> Out<'a> {
    match args.opaque(0)? {
        Opaque::Semver(version) => Ok(Value::Int(i64::try_from(version.numbers[index]).unwrap_or(i64::MAX))),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn major<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    component(args, 0)
}

pub(super) fn minor<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    component(args, 1)
}

pub(super) fn patch<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    component(args, 2)
}
