//! Lists, sets and maps.

use std::cmp::Ordering;

use super::{Args, Out, arithmetic, strings};
use crate::{
    error::EvalError,
    value::{List, Value, compare, equal},
};

/// A size or a place.
pub(super) fn int<'a>(value: usize) -> Value<'a> {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(super) fn size<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(match args.get(0) {
        Value::String(text) => strings::size(text),
        Value::Bytes(bytes) => int(bytes.len()),
        Value::List(list) => int(list.len()),
        Value::Map(map) => int(map.len()),
        _ => return Err(EvalError::new("no such overload: size")),
    })
}

/// `x in list`, `x in map`.
pub(super) fn contains<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let value = args.get(0);
    match args.get(1) {
        Value::List(list) => Ok(Value::Bool(list.iter().any(|item| equal(&item, value)))),
        Value::Map(map) => Ok(Value::Bool(map.has(value))),
        _ => Err(EvalError::NO_OVERLOAD),
    }
}

pub(super) fn map_insert<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let Value::Map(mut map) = args.take(0) else { return Err(EvalError::NO_OVERLOAD) };
    if args.len() == 3 {
        let (key, value) = (args.take(1), args.take(2));
        return map.insert(key, value).map(Value::Map);
    }
    let Value::Map(more) = args.take(1) else { return Err(EvalError::NO_OVERLOAD) };
    for (key, value) in more.entries() {
        map = map.insert(key, value)?;
    }
    Ok(Value::Map(map))
}

pub(super) fn index_of<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    if let Some(of_text) = strings::of_text(args, false) {
        return of_text;
    }
    let list = args.list(0)?;
    let found = list.iter().position(|item| equal(&item, args.get(1)));
    Ok(found.map_or(Value::Int(-1), int))
}

pub(super) fn last_index_of<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    if let Some(of_text) = strings::of_text(args, true) {
        return of_text;
    }
    let list = args.list(0)?;
    let found = (0..list.len()).rev().find(|at| list.get(*at).is_some_and(|item| equal(&item, args.get(1))));
    Ok(found.map_or(Value::Int(-1), int))
}

pub(super) fn is_sorted<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let list = args.list(0)?;
    let mut previous: Option<Value<'a>> = None;
    for item in list.iter() {
        if let Some(previous) = &previous
            && compare(previous, &item)? == Ordering::Greater
        {
            return Ok(Value::Bool(false));
        }
        previous = Some(item);
    }
    Ok(Value::Bool(true))
}

pub(super) fn sum<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let list = args.list(0)?;
    let mut total: Option<Value<'a>> = None;
    for item in list.iter() {
        total = Some(match total {
            None => item,
            Some(total) => {
                let mut both = [total, item];
                arithmetic::add(&mut Args { function: "_+_", overload: "", values: &mut both, pattern: None })?
            }
        });
    }
    match total {
        None => Ok(match args.overload {
            "list_uint_sum_uint" => Value::Uint(0),
            "list_double_sum_double" => Value::Double(0.0),
            "list_duration_sum_duration" => Value::Duration(0),
            _ => Value::Int(0),
        }),
        Some(total @ (Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Duration(_))) => Ok(total),
        Some(_) => Err(args.mismatch()),
    }
}

fn extreme<'a>(args: &mut Args<'a, '_>, replaces: Ordering) -> Out<'a> {
    let list = args.list(0)?;
    let mut best: Option<Value<'a>> = None;
    for item in list.iter() {
        best = Some(match best {
            None => item,
            Some(best) if compare(&item, &best)? == replaces => item,
            Some(best) => best,
        });
    }
    best.ok_or_else(|| EvalError::text(format!("{} called on empty list", args.function)))
}

pub(super) fn min<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    extreme(args, Ordering::Less)
}

pub(super) fn max<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    extreme(args, Ordering::Greater)
}

pub(super) fn first<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(args.list(0)?.get(0).map_or(Value::NONE, Value::some))
}

pub(super) fn last<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let list = args.list(0)?;
    Ok(list.len().checked_sub(1).and_then(|at| list.get(at)).map_or(Value::NONE, Value::some))
}

pub(super) fn slice<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (list, start, end) = (args.list(0)?, args.int(1)?, args.int(2)?);
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(EvalError::text(format!("cannot slice({start}, {end}), negative indexes not supported")));
    };
    if from > to {
        let message = format!("cannot slice({start}, {end}), start index must be less than or equal to end index");
        return Err(EvalError::text(message));
    }
    if to > list.len() {
        return Err(EvalError::text(format!("cannot slice({start}, {end}), list is length {}", list.len())));
    }
    Ok(Value::list((from..to).filter_map(|at| list.get(at)).collect()))
}

pub(super) fn flatten<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let list = args.list(0)?;
    let depth = if args.len() == 2 { args.int(1)? } else { 1 };
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(&list, depth, &mut out);
    Ok(Value::list(out))
}

fn flatten_into<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Value<'a>>) {
    for item in list.iter() {
        match &item {
            // Lists are as deep as the JSON or the expression that made them, which is bounded.
            Value::List(inner) if depth > 0 => flatten_into(inner, depth - 1, out),
            _ => out.push(item),
        }
    }
}

fn sorted<'a>(list: &List<'a>, keys: &List<'a>) -> Out<'a> {
    if keys.len() != list.len() {
        let message = format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            list.len(),
            keys.len()
        );
        return Err(EvalError::text(message));
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.iter().zip(list.iter()).collect();
    if let Some(((first, _), rest)) = pairs.split_first() {
        if compare(first, first).is_err() {
            return Err(EvalError::new("list elements must be comparable"));
        }
        let kind = std::mem::discriminant(first);
        if rest.iter().any(|(key, _)| std::mem::discriminant(key) != kind) {
            return Err(EvalError::new("list elements must have the same type"));
        }
    }
    pairs.sort_by(|a, b| compare(&a.0, &b.0).unwrap_or(Ordering::Equal));
    Ok(Value::list(pairs.into_iter().map(|(_, value)| value).collect()))
}

pub(super) fn sort<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let list = args.list(0)?;
    sorted(&list, &list)
}

pub(super) fn sort_by<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    sorted(&args.list(0)?, &args.list(1)?)
}

/// Most numbers that a range may have; its cost, which would forbid more, is known only when it is made.
const MAX_RANGE: i64 = 1_000_000;

pub(super) fn range<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let count = args.int(0)?;
    if count > MAX_RANGE {
        return Err(EvalError::CostLimit);
    }
    Ok(Value::list((0..count).map(Value::Int).collect()))
}

pub(super) fn reverse<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    if matches!(args.get(0), Value::String(_)) {
        return strings::reverse(args);
    }
    let mut items = args.list(0)?.to_vec();
    items.reverse();
    Ok(Value::list(items))
}

pub(super) fn distinct<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let mut out: Vec<Value<'a>> = Vec::new();
    for item in args.list(0)?.iter() {
        if !out.iter().any(|known| equal(known, &item)) {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}

fn has_all(list: &List<'_>, part: &List<'_>) -> bool {
    part.iter().all(|item| list.iter().any(|known| equal(&known, &item)))
}

pub(super) fn sets_contains<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(has_all(&args.list(0)?, &args.list(1)?)))
}

pub(super) fn sets_equivalent<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (a, b) = (args.list(0)?, args.list(1)?);
    Ok(Value::Bool(has_all(&a, &b) && has_all(&b, &a)))
}

pub(super) fn sets_intersects<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (a, b) = (args.list(0)?, args.list(1)?);
    Ok(Value::Bool(a.iter().any(|item| b.iter().any(|other| equal(&item, &other)))))
}
