//! Values against their schema, with the words of upstream's validator.
//!
//! Paths in messages are without the place the schema begins at (`replicas in body should be …` for a status), field
//! paths are with it. Of an update, errors of a part that is as it was before are forgiven (ratcheting).
//! Upstream counterpart: `kube-openapi/pkg/validation/validate` and `apiserver/validation/ratcheting.go`.

use apimachinery::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use super::{Additional, Checks, Structural};
use crate::table::ListType;

/// What validation found.
#[derive(Debug, Default)]
pub struct Validated {
    pub errors: ErrorList,
}

/// Errors of a value. `root` is where it stands in its object: nowhere, or at `status`.
pub fn validate(value: &Value, schema: &Structural, root: &Path) -> Validated {
    run(value, None, schema, root)
}

/// Errors of a value that replaces `old`.
pub fn validate_update(value: &Value, old: &Value, schema: &Structural, root: &Path) -> Validated {
    run(value, Some(old), schema, root)
}

fn run(value: &Value, old: Option<&Value>, schema: &Structural, root: &Path) -> Validated {
    let mut walker = Walker { root, at: String::new(), errors: Vec::new(), matches: 0 };
    walker.node(value, old, schema);
    let mut errors = ErrorList::new();
    errors.extend(walker.errors);
    Validated { errors }
}

struct Walker<'a> {
    root: &'a Path,
    at: String,
    errors: Vec<Error>,
    /// How many parts were good: picks the alternative whose errors are told.
    matches: usize,
}

/// More is not told; a list of a million wrong items must not cost a gigabyte of text.
const MOST: usize = 1000;

impl Walker<'_> {
    fn place(&self, name: &str) -> Path {
        match name {
            "" => self.root.clone(),
            name => self.root.child(name),
        }
    }

    fn push(&mut self, error: Error) {
        if self.errors.len() < MOST {
            self.errors.push(error);
        }
    }

    /// `{path} in body {why}`
    fn invalid(&mut self, value: impl Into<Value>, why: &str) {
        let error = Error::invalid(&self.place(&self.at), value, format!("{} in body {why}", self.at));
        self.push(error);
    }

    fn wrong_type(&mut self, expected: &str, found: &str, value: Value) {
        let why = format!("{} in body must be of type {expected}: {}", self.at, apimachinery::field::go_quote(found));
        let error = Error::type_invalid(&self.place(&self.at), value, why);
        self.push(error);
    }

    fn below(&mut self, name: &str, walk: impl FnOnce(&mut Self)) {
        let length = self.at.len();
        if length > 0 {
            self.at.push('.');
        }
        self.at.push_str(name);
        walk(self);
        self.at.truncate(length);
    }

    fn node(&mut self, value: &Value, old: Option<&Value>, schema: &Structural) {
        let before = self.errors.len();
        self.checked(value, old, schema);
        if self.errors.len() == before {
            self.matches += 1;
        } else if old.is_some_and(|old| old == value) {
            self.errors.truncate(before);
        }
    }

    fn checked(&mut self, value: &Value, old: Option<&Value>, schema: &Structural) {
        self.json_type(value, schema);
        let checks = schema.checks.as_deref();
        if value.is_null() {
            if let Some(checks) = checks {
                self.one_of_values(value, checks);
            }
            return;
        }
        if let Some(checks) = checks {
            self.alternatives(value, checks);
            match value {
                Value::String(text) => self.string(text, checks),
                Value::Number(number) => self.number(number, checks),
                _ => {}
            }
        }
        if let Value::Array(items) = value {
            self.list(items, old.and_then(Value::as_array), schema, checks);
        }
        if let Some(checks) = checks {
            self.one_of_values(value, checks);
        }
        if let Value::Object(members) = value {
            self.object(members, old.and_then(Value::as_object), schema, checks);
        }
    }

    fn json_type(&mut self, value: &Value, schema: &Structural) {
        let expected = match (schema.int_or_string, schema.json_type) {
            (true, _) => "integer,string",
            (false, Some(json_type)) => json_type.as_str(),
            (false, None) => return,
        };
        let found = match value {
            Value::Null if schema.nullable => return,
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if is_integer(number) => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let fits = if schema.int_or_string {
            matches!(found, "integer" | "string")
        } else {
            expected == found || (expected == "number" && found == "integer")
        };
        if !fits {
            self.wrong_type(expected, found, Value::from(found));
        }
    }

    fn string(&mut self, text: &str, checks: &Checks) {
        if checks.max_length.is_some() || checks.min_length.is_some() {
            let length = text.chars().count() as u64;
            if let Some(most) = checks.max_length.filter(|most| length > *most) {
                let error = Error::too_long(&self.place(&self.at), usize::try_from(most).unwrap_or(usize::MAX));
                self.push(error);
            } else if let Some(least) = checks.min_length.filter(|least| length < *least) {
                self.invalid(text, &format!("should be at least {least} chars long"));
            }
        }
        if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            self.invalid(text, &format!("should match '{}'", pattern.text()));
        }
        if let Some((_, name)) = checks.format.as_ref().filter(|(format, _)| !format.is_match(text)) {
            self.wrong_type(name, text, Value::from(text));
        }
    }

    fn number(&mut self, number: &serde_json::Number, checks: &Checks) {
        let Some(value) = number.as_f64() else { return };
        let shown = || Value::Number(number.clone());
        if let Some(factor) = checks.multiple_of
            && factor != 0.0
        {
            let times = value / factor;
            if (times - times.round()).abs() > 1e-9 {
                self.invalid(shown(), &format!("should be a multiple of {}", go_float(factor)));
            }
        }
        match (checks.maximum, checks.exclusive_maximum) {
            (Some(most), false) if value > most => {
                self.invalid(shown(), &format!("should be less than or equal to {}", go_float(most)));
            }
            (Some(most), true) if value >= most => {
                self.invalid(shown(), &format!("should be less than {}", go_float(most)));
            }
            _ => {}
        }
        match (checks.minimum, checks.exclusive_minimum) {
            (Some(least), false) if value < least => {
                self.invalid(shown(), &format!("should be greater than or equal to {}", go_float(least)));
            }
            (Some(least), true) if value <= least => {
                self.invalid(shown(), &format!("should be greater than {}", go_float(least)));
            }
            _ => {}
        }
    }

    fn one_of_values(&mut self, value: &Value, checks: &Checks) {
        if checks.values.is_empty() || checks.values.iter().any(|known| same(known, value)) {
            return;
        }
        let known: Vec<String> =
            checks.values.iter().map(|known| known.as_str().map_or_else(|| known.to_string(), str::to_owned)).collect();
        let error = Error::not_supported(&self.place(&self.at), value.clone(), &known);
        self.push(error);
    }

    fn list(&mut self, items: &[Value], old: Option<&Vec<Value>>, schema: &Structural, checks: Option<&Checks>) {
        if let Some(below) = schema.items.as_deref() {
            for (index, item) in items.iter().enumerate() {
                let length = self.at.len();
                self.at.push_str(&format!("[{index}]"));
                self.node(item, old.and_then(|old| correlated(item, old, schema)), below);
                self.at.truncate(length);
                if self.errors.len() >= MOST {
                    return;
                }
            }
        }
        let Some(checks) = checks else { return };
        let count = items.len();
        if let Some(least) = checks.min_items.filter(|least| (count as u64) < *least) {
            self.invalid(count, &format!("should have at least {least} items"));
        }
        if let Some(most) = checks.max_items.filter(|most| count as u64 > *most) {
            let error = Error::too_many(&self.place(&self.at), count, usize::try_from(most).unwrap_or(usize::MAX));
            self.push(error);
        }
        if checks.unique_items {
            let mut seen: Vec<String> = items.iter().map(Value::to_string).collect();
            seen.sort_unstable();
            if seen.windows(2).any(|pair| pair[0] == pair[1]) {
                self.invalid("", "shouldn't contain duplicates");
            }
        }
    }

    fn object(
        &mut self,
        members: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        schema: &Structural,
        checks: Option<&Checks>,
    ) {
        let count = members.len();
        if let Some(checks) = checks {
            if let Some(least) = checks.min_properties.filter(|least| (count as u64) < *least) {
                self.invalid(count, &format!("should have at least {least} properties"));
                return;
            }
            if let Some(most) = checks.max_properties.filter(|most| count as u64 > *most) {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                let error = Error::too_many(&self.place(&self.at), count, most);
                self.push(error);
                return;
            }
        }
        for (name, member) in members {
            let was = old.and_then(|old| old.get(name));
            match (schema.properties.get(name), &schema.additional) {
                (Some(property), _) => self.below(name, |this| this.node(member, was, property)),
                (None, Some(Additional::Schema(additional))) => {
                    self.below(name, |this| this.node(member, was, additional));
                }
                (None, Some(Additional::Any(false))) => {
                    let forbidden = if self.at.is_empty() { format!(".{name}") } else { format!("{}.{name}", self.at) };
                    let why = format!("{forbidden} in body is a forbidden property");
                    let error = Error::invalid(&self.place(&self.at), "", why);
                    self.push(error);
                }
                (None, _) => {}
            }
            if self.errors.len() >= MOST {
                return;
            }
        }
        for name in checks.map(|checks| checks.required.as_slice()).unwrap_or_default() {
            let has_default = || schema.properties.get(name).is_some_and(|property| property.default.is_some());
            if !members.contains_key(name) && !has_default() {
                let name = if self.at.is_empty() { name.clone() } else { format!("{}.{name}", self.at) };
                let error = Error::required(&self.place(&name), "");
                self.push(error);
            }
        }
    }

    // --- allOf and its siblings

    fn alternatives(&mut self, value: &Value, checks: &Checks) {
        if !checks.any_of.is_empty() {
            let tried: Vec<Tried> = self.try_each(value, &checks.any_of, true);
            if tried.iter().all(|tried| !tried.errors.is_empty()) {
                self.composite("must validate at least one schema (anyOf)");
                self.tell_best(tried);
            }
        }
        if !checks.one_of.is_empty() {
            let tried = self.try_each(value, &checks.one_of, false);
            match tried.iter().filter(|tried| tried.errors.is_empty()).count() {
                1 => {}
                0 => {
                    self.composite("must validate one and only one schema (oneOf). Found none valid");
                    self.tell_best(tried);
                }
                good => {
                    let why = format!("must validate one and only one schema (oneOf). Found {good} valid alternatives");
                    self.composite(&why);
                }
            }
        }
        if !checks.all_of.is_empty() {
            let tried = self.try_each(value, &checks.all_of, false);
            let good = tried.iter().filter(|tried| tried.errors.is_empty()).count();
            for tried in tried {
                for error in tried.errors {
                    self.push(error);
                }
            }
            if good < checks.all_of.len() {
                let more = if good == 0 { ". None validated" } else { "" };
                self.composite(&format!("must validate all the schemas (allOf){more}"));
            }
        }
        if let Some(not) = &checks.not {
            let tried = self.attempt(value, not);
            if tried.errors.is_empty() {
                self.composite("must not validate the schema (not)");
            }
        }
    }

    /// Upstream tells these of the object as a whole.
    fn composite(&mut self, why: &str) {
        let error = Error::invalid(self.root, "", format!("\"{}\" {why}", self.at));
        self.push(error);
    }

    fn try_each(&mut self, value: &Value, schemas: &[Structural], first_is_enough: bool) -> Vec<Tried> {
        let mut out = Vec::with_capacity(schemas.len());
        for schema in schemas {
            let tried = self.attempt(value, schema);
            let good = tried.errors.is_empty();
            out.push(tried);
            if good && first_is_enough {
                break;
            }
        }
        out
    }

    fn attempt(&mut self, value: &Value, schema: &Structural) -> Tried {
        let mut walker = Walker { root: self.root, at: std::mem::take(&mut self.at), errors: Vec::new(), matches: 0 };
        walker.node(value, None, schema);
        self.at = walker.at;
        Tried { errors: walker.errors, matches: walker.matches }
    }

    fn tell_best(&mut self, tried: Vec<Tried>) {
        let mut best: Option<Tried> = None;
        for tried in tried {
            if best.as_ref().is_none_or(|best| tried.matches > best.matches) {
                best = Some(tried);
            }
        }
        for error in best.into_iter().flat_map(|best| best.errors) {
            self.push(error);
        }
    }
}

struct Tried {
    errors: Vec<Error>,
    matches: usize,
}

/// The element of the old list that this one is a new state of: known only by the keys of a list of type `map`.
fn correlated<'o>(item: &Value, old: &'o [Value], schema: &Structural) -> Option<&'o Value> {
    let Some(ListType::Map { keys }) = &schema.list else { return None };
    old.iter().find(|candidate| keys.iter().all(|key| candidate.get(key.as_ref()) == item.get(key.as_ref())))
}

/// Whether the number has no fraction, as upstream's `IsFloat64AJSONInteger`.
pub(crate) fn is_integer(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
}

/// Equal values; numbers are equal however they are written.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        (left, right) => left == right,
    }
}

/// Go's `%v` of a double.
pub(crate) fn go_float(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor();
    if !(-4.0..21.0).contains(&exponent) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) => match exponent.strip_prefix('-') {
                Some(exponent) => format!("{digits}e-{exponent:0>2}"),
                None => format!("{digits}e+{exponent:0>2}"),
            },
            None => text,
        };
    }
    format!("{value}")
}
