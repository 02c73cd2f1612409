//! The part of kubectl's JSONPath that columns use: names, indexes, slices, wildcards, descent and filters.
//!
//! Bounded: a path has a longest length, and gives at most so many results. Upstream: `client-go/util/jsonpath`.

use std::cmp::Ordering;

use serde_json::Value;

const MAX_LENGTH: usize = 4096;
const MAX_RESULTS: usize = 1000;

/// A parsed path.
#[derive(Clone, Debug)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Name(String),
    Names(Vec<String>),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    All,
    /// Every value below, itself too.
    Descend,
    Filter(Vec<Step>, Option<(Comparison, Operand)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug)]
enum Operand {
    Literal(Value),
    Path(Vec<Step>),
}

impl JsonPath {
    /// `.status.conditions[?(@.type=="Ready")].status`; none when it is not understood.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let mut parser = Parser { rest: text.strip_prefix('$').unwrap_or(text) };
        let steps = parser.steps()?;
        parser.rest.is_empty().then_some(Self(steps))
    }

    /// What the path leads to; nothing where a name is missing.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        walk(&self.0, value)
    }
}

fn walk<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            apply(step, value, &mut next);
            if next.len() > MAX_RESULTS {
                next.truncate(MAX_RESULTS);
                break;
            }
        }
        found = next;
    }
    found
}

fn apply<'a>(step: &Step, value: &'a Value, out: &mut Vec<&'a Value>) {
    match (step, value) {
        (Step::Name(name), Value::Object(members)) => out.extend(members.get(name)),
        (Step::Names(names), Value::Object(members)) => out.extend(names.iter().filter_map(|name| members.get(name))),
        (Step::Index(index), Value::Array(items)) => {
            out.extend(place(*index, items.len()).and_then(|at| items.get(at)))
        }
        (Step::Slice(from, to, step), Value::Array(items)) => {
            let bound = |bound: Option<i64>, absent: usize| match bound {
                None => absent,
                Some(bound) if bound < 0 => items.len().saturating_sub(usize::try_from(-bound).unwrap_or(usize::MAX)),
                Some(bound) => usize::try_from(bound).unwrap_or(usize::MAX).min(items.len()),
            };
            let (from, to) = (bound(*from, 0), bound(*to, items.len()));
            let step = usize::try_from(*step).unwrap_or(1).max(1);
            out.extend(items.get(from..to.max(from)).unwrap_or_default().iter().step_by(step));
        }
        (Step::All, Value::Array(items)) => out.extend(items),
        (Step::All, Value::Object(members)) => out.extend(members.values()),
        (Step::Descend, value) => descend(value, out),
        (Step::Filter(left, right), Value::Array(items)) => {
            out.extend(items.iter().filter(|item| passes(item, left, right.as_ref())));
        }
        (Step::Filter(left, right), Value::Object(members)) => {
            out.extend(members.values().filter(|item| passes(item, left, right.as_ref())));
        }
        _ => {}
    }
}

fn descend<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    if out.len() > MAX_RESULTS {
        return;
    }
    out.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, out)),
        Value::Object(members) => members.values().for_each(|member| descend(member, out)),
        _ => {}
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    if index < 0 { length.checked_sub(usize::try_from(-index).ok()?) } else { usize::try_from(index).ok() }
}

fn passes(item: &Value, left: &[Step], right: Option<&(Comparison, Operand)>) -> bool {
    let found = walk(left, item);
    let Some((comparison, operand)) = right else { return !found.is_empty() };
    let Some(left) = found.first() else { return false };
    let other;
    let right = match operand {
        Operand::Literal(value) => value,
        Operand::Path(steps) => {
            other = walk(steps, item);
            match other.first() {
                Some(value) => value,
                None => return false,
            }
        }
    };
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    };
    match (comparison, order) {
        (Comparison::NotEqual, order) => order != Some(Ordering::Equal),
        (_, None) => false,
        (Comparison::Equal, Some(order)) => order.is_eq(),
        (Comparison::Less, Some(order)) => order.is_lt(),
        (Comparison::LessOrEqual, Some(order)) => order.is_le(),
        (Comparison::Greater, Some(order)) => order.is_gt(),
        (Comparison::GreaterOrEqual, Some(order)) => order.is_ge(),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn steps(&mut self) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.take("..") {
                steps.push(Step::Descend);
                if !self.rest.starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.take(".") {
                // A lone dot is the object itself; before a bracket it is only punctuation.
                if !self.rest.is_empty() && !self.rest.starts_with(['[', ')', ' ']) {
                    steps.push(self.name()?);
                }
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else {
                return Some(steps);
            }
        }
    }

    /// A name after a dot; `\.` is a dot of the name.
    fn name(&mut self) -> Option<Step> {
        let mut name = String::new();
        let mut characters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => name.push(characters.next()?.1),
                '.' | '[' | ']' | ')' | ' ' | '=' | '!' | '<' | '>' | '{' | '}' | '|' | ',' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => None,
            "*" => Some(Step::All),
            _ => Some(Step::Name(name)),
        }
    }

    fn bracket(&mut self) -> Option<Step> {
        self.spaces();
        let step = if self.take("?(") {
            self.filter()?
        } else if self.take("*") {
            Step::All
        } else if self.rest.starts_with(['\'', '"']) {
            let mut names = vec![self.quoted()?];
            self.spaces();
            while self.take(",") {
                self.spaces();
                names.push(self.quoted()?);
                self.spaces();
            }
            Step::Names(names)
        } else {
            self.numbers()?
        };
        self.spaces();
        self.take("]").then_some(step)
    }

    fn quoted(&mut self) -> Option<String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => text.push(characters.next()?.1),
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                c => text.push(c),
            }
        }
        None
    }

    fn number(&mut self) -> Option<i64> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number = digits.parse().ok()?;
        self.rest = rest;
        Some(number)
    }

    /// `3`, `-1`, `1:`, `:2`, `0:4:2`.
    fn numbers(&mut self) -> Option<Step> {
        let first = self.number();
        if !self.take(":") {
            return first.map(Step::Index);
        }
        let second = self.number();
        let step = if self.take(":") { self.number().unwrap_or(1) } else { 1 };
        Some(Step::Slice(first, second, step))
    }

    /// After `?(`, up to and with the closing parenthesis.
    fn filter(&mut self) -> Option<Step> {
        self.spaces();
        if !self.take("@") {
            return None;
        }
        let left = self.steps()?;
        self.spaces();
        let comparison = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ]
        .into_iter()
        .find(|(text, _)| self.take(text));
        let right = match comparison {
            None => None,
            Some((_, comparison)) => {
                self.spaces();
                Some((comparison, self.operand()?))
            }
        };
        self.spaces();
        self.take(")").then_some(Step::Filter(left, right))
    }

    fn operand(&mut self) -> Option<Operand> {
        if self.take("@") {
            return Some(Operand::Path(self.steps()?));
        }
        if self.rest.starts_with(['\'', '"']) {
            return Some(Operand::Literal(self.quoted()?.into()));
        }
        let end = self.rest.find([')', ' ']).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        let value: Value = serde_json::from_str(text).ok().filter(|value: &Value| !value.is_object())?;
        self.rest = rest;
        Some(Operand::Literal(value))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::JsonPath;

    #[test]
    fn paths_lead_where_kubectls_lead() {
        let value = json!({
            "spec": {"replicas": 3, "list": [1, 2, 3, 4], "a.b": "dotted", "ports": [{"n": "x", "p": 1}, {"n": "y", "p": 2}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        for (path, wanted) in [
            (".spec.replicas", json!([3])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([4])),
            (".spec.list[1:3]", json!([2, 3])),
            (".spec.list[::2]", json!([1, 3])),
            (".spec.ports[*].n", json!(["x", "y"])),
            (".spec['a.b']", json!(["dotted"])),
            (r".spec.a\.b", json!(["dotted"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type == 'Nope')].status", json!([])),
            (".spec.ports[?(@.p>1)].n", json!(["y"])),
            (".spec.ports[?(@.n)].p", json!([1, 2])),
            ("..p", json!([1, 2])),
            (".missing.x", json!([])),
        ] {
            let found = JsonPath::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(json!(found.find(&value)), wanted, "{path}");
        }
        for bad in [".a[", ".a[?(b)]", "a b", ".a]", ".x[?(@.y==)]"] {
            assert!(JsonPath::parse(bad).is_none(), "{bad}");
        }
    }
}
