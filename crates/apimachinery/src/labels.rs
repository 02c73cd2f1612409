//! Label selectors, as text in queries and as `LabelSelector` in objects.
//! Upstream: `k8s.io/apimachinery/pkg/labels`.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{
    field::{Error, ErrorList, Path, go_quote},
    names,
};

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A selector: all requirements must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Key of the label.
    pub key: String,
    /// Condition.
    pub operator: Operator,
    /// Values of the condition, sorted.
    pub values: Vec<String>,
}

/// Conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`; also true without the label.
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key=a` and `key==a`
    Equals,
    /// `key!=a`; also true without the label.
    NotEquals,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// The text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl Selector {
    /// Selects everything.
    pub const fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Selects nothing.
    pub const fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Selects objects that carry all of these labels.
    pub fn from_set(labels: &Labels) -> Self {
        let requirements = labels
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::Equals,
                values: vec![value.clone()],
            })
            .collect();
        Self { requirements, nothing: false }
    }

    /// From the text of a `labelSelector` query.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { text, at: 0 };
        let mut requirements = parser.selector()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// From the field of an object. Absent selects nothing, empty selects everything.
    /// Upstream: `LabelSelectorAsSelector`.
    pub fn from_label_selector(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut result = Self::from_set(selector.match_labels.as_ref().unwrap_or(&BTreeMap::new()));
        for expression in selector.match_expressions.iter().flatten() {
            let mut values = expression.values.clone().unwrap_or_default();
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("{} is not a valid label selector operator", go_quote(other))));
                }
            };
            values.sort();
            result.requirements.push(Requirement { key: expression.key.clone(), operator, values });
        }
        result.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(result)
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Like [`Selector::matches`], where labels are looked up by a function.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.holds(get(&requirement.key)))
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether nothing can be selected.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        let number = |text: &str| text.parse::<i64>().ok();
        match (self.operator, value) {
            (Operator::In | Operator::Equals, Some(value)) => listed(value),
            (Operator::NotIn | Operator::NotEquals, Some(value)) => !listed(value),
            (Operator::NotIn | Operator::NotEquals | Operator::DoesNotExist, None) | (Operator::Exists, Some(_)) => {
                true
            }
            (Operator::GreaterThan | Operator::LessThan, Some(value)) => {
                match (number(value), self.values.first().and_then(|v| number(v))) {
                    (Some(have), Some(want)) if self.operator == Operator::GreaterThan => have > want,
                    (Some(have), Some(want)) => have < want,
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let Requirement { key, operator, values } = requirement;
            let first = values.first().map_or("", String::as_str);
            match operator {
                Operator::In => write!(f, "{key} in ({})", values.join(","))?,
                Operator::NotIn => write!(f, "{key} notin ({})", values.join(","))?,
                Operator::Exists => f.write_str(key)?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::Equals => write!(f, "{key}={first}")?,
                Operator::NotEquals => write!(f, "{key}!={first}")?,
                Operator::GreaterThan => write!(f, "{key}>{first}")?,
                Operator::LessThan => write!(f, "{key}<{first}")?,
            }
        }
        Ok(())
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
    End,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Token<'a> {
        let (token, at) = self.scan();
        self.at = at;
        token
    }

    fn peek(&self) -> Token<'a> {
        self.scan().0
    }

    fn scan(&self) -> (Token<'a>, usize) {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let start = self.at + (rest.len() - trimmed.len());
        for symbol in ["==", "!=", "=", "!", "(", ")", ",", ">", "<"] {
            if trimmed.starts_with(symbol) {
                return (Token::Symbol(symbol), start + symbol.len());
            }
        }
        let len = trimmed.find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<']).unwrap_or(trimmed.len());
        if len == 0 { (Token::End, start) } else { (Token::Word(&trimmed[..len]), start + len) }
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                Token::Word(_) | Token::Symbol("!") => {
                    requirements.push(self.requirement()?);
                    match self.next() {
                        Token::End => return Ok(requirements),
                        Token::Symbol(",") => match self.peek() {
                            Token::Word(_) | Token::Symbol("!") => {}
                            other => return Err(unexpected(&other, "identifier after ','")),
                        },
                        other => return Err(unexpected(&other, "',' or 'end of string'")),
                    }
                }
                other => return Err(unexpected(&other, "!, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let negated = self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(word) => word.to_owned(),
            other => return Err(unexpected(&other, "identifier")),
        };
        check(&Path::root(), names::is_qualified_name(&key), &key, "key")?;
        if negated {
            return Ok(Requirement { key, operator: Operator::DoesNotExist, values: Vec::new() });
        }
        let operator = match self.peek() {
            Token::End | Token::Symbol(",") => {
                return Ok(Requirement { key, operator: Operator::Exists, values: Vec::new() });
            }
            Token::Symbol("=" | "==") => Operator::Equals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            Token::Word("in") => Operator::In,
            Token::Word("notin") => Operator::NotIn,
            other => return Err(unexpected(&other, "in, notin, =, ==, !=, gt, lt")),
        };
        self.next();
        let mut values =
            if matches!(operator, Operator::In | Operator::NotIn) { self.set()? } else { vec![self.exact()?] };
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for value in &values {
                if value.parse::<i64>().is_err() {
                    return Err(SelectorError(format!(
                        "values[0][{key}]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                        go_quote(value)
                    )));
                }
            }
        }
        values.sort();
        values.dedup();
        for (index, value) in values.iter().enumerate() {
            check(&Path::new("values").index(index).key(&key), names::is_valid_label_value(value), value, "value")?;
        }
        Ok(Requirement { key, operator, values })
    }

    fn exact(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            Token::End | Token::Symbol(",") => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                Ok(word.to_owned())
            }
            other => Err(unexpected(&other, "identifier")),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(unexpected(&other, "'('")),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.push(word.to_owned());
                    match self.next() {
                        Token::Symbol(",") => {
                            if matches!(self.peek(), Token::Symbol(")")) {
                                values.push(String::new());
                            }
                        }
                        Token::Symbol(")") => return Ok(values),
                        other => return Err(unexpected(&other, "',' or ')'")),
                    }
                }
                Token::Symbol(")") => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                Token::Symbol(",") => values.push(String::new()),
                other => return Err(unexpected(&other, "',', ')' or identifier")),
            }
        }
    }
}

fn unexpected(found: &Token<'_>, wanted: &str) -> SelectorError {
    let found = match found {
        Token::Word(word) => word,
        Token::Symbol(symbol) => symbol,
        Token::End => "",
    };
    SelectorError(format!("found '{found}', expected: {wanted}"))
}

fn check(path: &Path, messages: Vec<String>, value: &str, what: &str) -> Result<(), SelectorError> {
    if messages.is_empty() {
        return Ok(());
    }
    let path = if what == "key" { Path::new("key") } else { path.clone() };
    Err(SelectorError(Error::invalid(&path, value, messages.join("; ")).to_string()))
}

/// Validates the `LabelSelector` of an object. Upstream: `ValidateLabelSelector`.
pub fn validate_label_selector(selector: &LabelSelector, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(labels) = &selector.match_labels {
        errors.append(names::validate_labels(labels, &path.child("matchLabels")));
    }
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let has_values = expression.values.as_ref().is_some_and(|values| !values.is_empty());
        match expression.operator.as_str() {
            "In" | "NotIn" if !has_values => errors
                .push(Error::required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")),
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if has_values => errors.push(Error::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Exists" | "DoesNotExist" => {}
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        errors.append(names::validate_label_name(&expression.key, &path.child("key")));
        for (index, value) in expression.values.iter().flatten().enumerate() {
            for message in names::is_valid_label_value(value) {
                errors.push(Error::invalid(&path.child("values").index(index), value.as_str(), message));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split(',').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
    }

    #[test]
    fn selectors_match_as_upstream() {
        let have = labels("app=web,tier=front,n=5");
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier in (front, back)", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("missing notin (x)", true),
            ("!missing", true),
            ("app", true),
            ("!app", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app in ()", false),
            ("app=", false),
        ] {
            assert_eq!(Selector::parse(selector).unwrap().matches(&have), expected, "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_says_why() {
        for (text, message) in [
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in b", "found 'b', expected: '('"),
            ("a b", "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err().to_string(), message, "{text}");
        }
        assert!(Selector::parse("a=-x").is_err());
        assert!(Selector::parse("a>x").is_err());
    }

    #[test]
    fn selectors_print_themselves() {
        let text = "!c,a=1,b in (x,y)";
        assert_eq!(Selector::parse(text).unwrap().to_string(), "a=1,b in (x,y),!c");
    }
}
