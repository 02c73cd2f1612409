//! Runs a plan. What each step costs is upstream's: a variable or field 1, a constant nothing, a list 10, a map 30, an
//! object 40, a call what [`cost::CallCost`] says.

use std::sync::Arc;

use super::{
    Activation, Outcome,
    node::{Attr, Base, Branch, Conditional, Fold, MapNode, Node, ObjectNode, QualifierKey},
};
use crate::{
    cost,
    error::EvalError,
    functions::Args,
    value::{List, MapBuilder, Object, Value, equal},
};

const LIST: u64 = 10;
const MAP: u64 = 30;
const OBJECT: u64 = 40;

type Result<T> = std::result::Result<T, EvalError>;

pub(super) fn run<'a>(node: &'a Node, locals: usize, activation: &dyn Activation<'a>, limit: u64) -> Outcome<'a> {
    let mut slots = Vec::new();
    slots.resize_with(locals, || Slot::Empty);
    let mut runner = Runner { activation, slots, cost: 0, limit };
    let result = runner.eval(node);
    Outcome { result, cost: runner.cost }
}

/// The value of what mentions no variable.
pub(super) fn constant(node: &Node) -> Result<Value<'static>> {
    let none: &[(&str, Value<'_>)] = &[];
    let outcome = run(node, 0, &none, u64::MAX);
    owned(outcome.result?)
}

/// A constant borrows nothing but the plan's own constants, whose parts it shares.
fn owned(value: Value<'_>) -> Result<Value<'static>> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Bool(value) => Value::Bool(value),
        Value::Int(value) => Value::Int(value),
        Value::Uint(value) => Value::Uint(value),
        Value::Double(value) => Value::Double(value),
        Value::String(text) => Value::string(&*text),
        Value::Bytes(bytes) => Value::Bytes(bytes),
        Value::Timestamp(at) => Value::Timestamp(at),
        Value::Duration(nanos) => Value::Duration(nanos),
        Value::Type(ty) => Value::Type(ty),
        Value::List(list) => Value::list(list.iter().map(owned).collect::<Result<_>>()?),
        Value::Map(map) => {
            let mut made = MapBuilder::default();
            for (key, value) in map.entries() {
                made.set(owned(key)?, owned(value)?)?;
            }
            made.finish()
        }
        Value::Optional(None) => Value::NONE,
        Value::Optional(Some(inner)) => Value::some(owned((*inner).clone())?),
        Value::Object(_) | Value::Opaque(_) | Value::Virtual(_) => return Err(EvalError::NO_OVERLOAD),
    })
}

enum Slot<'a> {
    Empty,
    Ready(Value<'a>),
    Failed(EvalError),
    /// Evaluated when it is first asked for.
    Lazy(&'a Node),
}

struct Runner<'a, 'x> {
    activation: &'x dyn Activation<'a>,
    slots: Vec<Slot<'a>>,
    cost: u64,
    limit: u64,
}

impl<'a> Runner<'a, '_> {
    fn charge(&mut self, cost: u64) -> Result<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    fn eval(&mut self, node: &'a Node) -> Result<Value<'a>> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Attr(attr) => {
                let value = self.resolve(attr);
                self.charge(1)?;
                value
            }
            Node::Has(attr, field) => self.has(attr, field),
            Node::Conditional(conditional) => self.conditional(conditional),
            Node::And(sides) => self.logic(sides, false),
            Node::Or(sides) => self.logic(sides, true),
            Node::Equal { sides, negated } => self.equal(sides, *negated),
            Node::Call(call) => {
                // Most functions have one or two arguments, none more than four.
                let mut values: [Value<'a>; 4] = Default::default();
                let mut failed = None;
                for (arg, slot) in call.args.iter().zip(&mut values) {
                    match self.eval(arg) {
                        Ok(value) => *slot = value,
                        Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                        Err(error) if call.function == "@not_strictly_false" => {
                            let _absorbed = error;
                            self.charge(1)?;
                            return Ok(Value::Bool(true));
                        }
                        Err(error) if call.args.len() > 2 => return Err(error),
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
                let values = &mut values[..call.args.len()];
                if !call.cost.needs_result() {
                    self.charge(call.cost.run_time(values, None))?;
                }
                if let Some(error) = failed {
                    return Err(error);
                }
                let before = call.cost;
                let result = (call.run)(&mut Args {
                    function: call.function,
                    overload: call.overload,
                    values,
                    pattern: call.pattern.as_ref(),
                });
                if before.needs_result() {
                    let cost = before.run_time(values, result.as_ref().ok());
                    self.charge(cost)?;
                }
                result
            }
            Node::InSet(value, set) => Ok(Value::Bool(set.contains(&self.eval(value)?))),
            Node::OptionalOr { sides, unwrap } => match self.eval(&sides[0])? {
                Value::Optional(Some(inner)) if *unwrap => Ok((*inner).clone()),
                value @ Value::Optional(Some(_)) => Ok(value),
                Value::Optional(None) => self.eval(&sides[1]),
                _ => Err(EvalError::NO_OVERLOAD),
            },
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Object(object) => self.object(object),
            Node::Fold(fold) => self.fold(fold),
            Node::Append { slot, element } => {
                let element = self.eval(element);
                self.charge(LIST + 2)?;
                let element = element?;
                let list = match self.take(*slot)? {
                    Value::List(list) => list,
                    _ => return Err(EvalError::NO_OVERLOAD),
                };
                let mut items = match list {
                    List::Shared(items) => items,
                    other => Arc::new(other.to_vec()),
                };
                Arc::make_mut(&mut items).push(element);
                Ok(Value::List(List::Shared(items)))
            }
            Node::Insert { slot, args } => {
                let mut values: [Value<'a>; 2] = Default::default();
                for (arg, value) in args.iter().zip(&mut values) {
                    *value = self.eval(arg)?;
                }
                self.charge(2)?;
                let Value::Map(map) = self.take(*slot)? else { return Err(EvalError::NO_OVERLOAD) };
                let [key, value] = values;
                if args.len() == 2 {
                    return map.insert(key, value).map(Value::Map);
                }
                let Value::Map(more) = key else { return Err(EvalError::NO_OVERLOAD) };
                let mut map = map;
                for (key, value) in more.entries() {
                    map = map.insert(key, value)?;
                }
                Ok(Value::Map(map))
            }
        }
    }

    // === variables and fields ===

    fn local(&mut self, slot: usize) -> Result<Value<'a>> {
        match &self.slots[slot] {
            Slot::Ready(value) => Ok(value.clone()),
            Slot::Failed(error) => Err(error.clone()),
            Slot::Empty => Err(EvalError::new("no such attribute(s)")),
            Slot::Lazy(node) => {
                let value = self.eval(node);
                self.keep(slot, value.clone())?;
                value
            }
        }
    }

    /// The value of a slot, which is left without one.
    fn take(&mut self, slot: usize) -> Result<Value<'a>> {
        if matches!(self.slots[slot], Slot::Lazy(_)) {
            let value = self.local(slot);
            self.slots[slot] = Slot::Empty;
            return value;
        }
        match std::mem::replace(&mut self.slots[slot], Slot::Empty) {
            Slot::Ready(value) => Ok(value),
            Slot::Failed(error) => Err(error),
            Slot::Empty | Slot::Lazy(_) => Err(EvalError::new("no such attribute(s)")),
        }
    }

    fn keep(&mut self, slot: usize, value: Result<Value<'a>>) -> Result<()> {
        self.slots[slot] = match value {
            Ok(value) => Slot::Ready(value),
            Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
            Err(error) => Slot::Failed(error),
        };
        Ok(())
    }

    fn base(&mut self, base: &'a Base) -> Result<Value<'a>> {
        match base {
            Base::Variable(name) => {
                self.activation.variable(name).ok_or_else(|| EvalError::text(format!("no such attribute(s): {name}")))
            }
            Base::Local(slot) => self.local(*slot),
            Base::Value(node) => self.eval(node),
        }
    }

    fn resolve(&mut self, attr: &'a Attr) -> Result<Value<'a>> {
        let base = self.base(&attr.base)?;
        if attr.qualifiers.is_empty() {
            return Ok(base);
        }
        match self.qualified(base, attr)? {
            (Some(value), true) => Ok(Value::some(value)),
            (Some(value), false) => Ok(value),
            (None, _) => Ok(Value::NONE),
        }
    }

    /// The value after all fields and indexes, none where an optional one is not there; and whether it is optional.
    fn qualified(&mut self, base: Value<'a>, attr: &'a Attr) -> Result<(Option<Value<'a>>, bool)> {
        let (mut value, mut optional) = match base {
            Value::Optional(None) => return Ok((None, true)),
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            other => (other, false),
        };
        for qualifier in &attr.qualifiers {
            optional |= qualifier.optional;
            let computed;
            let key = match &qualifier.key {
                QualifierKey::Const(key) => key,
                QualifierKey::Computed(node) => {
                    computed = self.eval(node)?;
                    if !matches!(**node, Node::Attr(_) | Node::Conditional(_)) {
                        self.charge(1)?;
                    }
                    &computed
                }
            };
            let found = self.member(&value, key, optional);
            let constant = matches!(qualifier.key, QualifierKey::Const(_));
            if constant && (!optional || matches!(found, Ok(Some(_)))) {
                self.charge(1)?;
            }
            match found? {
                Some(found) => value = found,
                None if optional => return Ok((None, true)),
                None => return Err(missing(&value, key)),
            }
        }
        Ok((Some(value), optional))
    }

    /// One field or index. None: not there. `presence`: what can have no members has none, instead of failing.
    fn member(&self, value: &Value<'a>, key: &Value<'_>, presence: bool) -> Result<Option<Value<'a>>> {
        match (value, key) {
            (Value::Map(map), key) => Ok(map.get(key)),
            (Value::List(list), key) => {
                let index = index(key)?;
                Ok(usize::try_from(index).ok().and_then(|index| list.get(index)))
            }
            (Value::Virtual(object), Value::String(name)) => self.activation.field(object, name).transpose(),
            (Value::Object(object), Value::String(name)) => {
                Ok(object.fields.iter().find(|(known, _)| **known == **name).map(|(_, value)| value.clone()))
            }
            _ if presence => Ok(None),
            (_, key) => Err(EvalError::text(format!("no such key: {key}"))),
        }
    }

    fn has(&mut self, attr: &'a Attr, field: &Arc<str>) -> Result<Value<'a>> {
        let base = self.base(&attr.base)?;
        let (value, optional) = match self.qualified(base, attr)? {
            (None, _) => return Ok(Value::Bool(false)),
            (Some(value), optional) => (value, optional),
        };
        let found = self.member(&value, &Value::str(field), true);
        let present = matches!(found, Ok(Some(_)));
        if present || !optional {
            self.charge(1)?;
        }
        // A lazy field that fails is there, but has no value.
        if let (Value::Virtual(_), Err(error)) = (&value, found) {
            return Err(error);
        }
        Ok(Value::Bool(present))
    }

    // === logic ===

    fn conditional(&mut self, conditional: &'a Conditional) -> Result<Value<'a>> {
        let branch = match self.eval(&conditional.condition)? {
            Value::Bool(true) => &conditional.then,
            Value::Bool(false) => &conditional.otherwise,
            _ => return Err(EvalError::NO_OVERLOAD),
        };
        match branch {
            Branch::Attr(attr) => self.resolve(attr),
            Branch::Conditional(inner) => self.conditional(inner),
        }
    }

    /// `&&` (decided by false) and `||` (by true): the deciding side absorbs the other's error.
    fn logic(&mut self, sides: &'a [Node; 2], decides: bool) -> Result<Value<'a>> {
        let mut failed = None;
        for side in sides {
            match self.eval(side) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failed = failed.or(Some(EvalError::NO_OVERLOAD)),
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn equal(&mut self, sides: &'a [Node; 2], negated: bool) -> Result<Value<'a>> {
        let left = self.eval(&sides[0]);
        if matches!(left, Err(EvalError::CostLimit)) {
            return left;
        }
        let right = self.eval(&sides[1]);
        if matches!(right, Err(EvalError::CostLimit)) {
            return right;
        }
        let size = |side: &Result<Value<'_>>| side.as_ref().map_or(1, Value::cost_size);
        let cost = match &left {
            Ok(Value::Opaque(_)) if !negated => 1,
            _ => cost::traverse(size(&left).min(size(&right))),
        };
        self.charge(cost)?;
        Ok(Value::Bool(equal(&left?, &right?) != negated))
    }

    // === literals ===

    fn list(&mut self, elements: &'a [(Node, bool)]) -> Result<Value<'a>> {
        let mut items = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            let value = self.eval(element)?;
            match (optional, value) {
                (false, value) => items.push(value),
                (true, Value::Optional(Some(inner))) => items.push((*inner).clone()),
                (true, Value::Optional(None)) => {}
                (true, other) => {
                    let message = format!("cannot initialize optional list element from non-optional value {other}");
                    return Err(EvalError::text(message));
                }
            }
        }
        self.charge(LIST)?;
        Ok(Value::list(items))
    }

    fn map(&mut self, entries: &'a [MapNode]) -> Result<Value<'a>> {
        let mut made = MapBuilder::default();
        for entry in entries {
            let key = self.eval(&entry.key)?;
            let value = self.eval(&entry.value)?;
            match (entry.optional, value) {
                (false, value) => made.set(key, value)?,
                (true, Value::Optional(Some(inner))) => made.set(key, (*inner).clone())?,
                (true, Value::Optional(None)) => made.remove(&key),
                (true, other) => return Err(not_optional(&key, &other)),
            }
        }
        self.charge(MAP)?;
        Ok(made.finish())
    }

    fn object(&mut self, object: &'a ObjectNode) -> Result<Value<'a>> {
        let mut fields = Vec::with_capacity(object.fields.len());
        for (name, node, optional) in &object.fields {
            let value = self.eval(node)?;
            match (optional, value) {
                (false, value) => fields.push((name.clone(), value)),
                (true, Value::Optional(Some(inner))) => fields.push((name.clone(), (*inner).clone())),
                (true, Value::Optional(None)) => {}
                (true, other) => return Err(not_optional(&Value::str(name), &other)),
            }
        }
        self.charge(OBJECT)?;
        Ok(Value::Object(Arc::new(Object { ty: object.ty.clone(), fields })))
    }

    // === folds ===

    fn fold(&mut self, fold: &'a Fold) -> Result<Value<'a>> {
        let range = self.eval(&fold.range)?;
        // A fold inside a fold's step starts anew each time; what was in its slots is not needed any more.
        self.slots[fold.slot] = Slot::Lazy(&fold.init);
        match range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let item = list.get(index).unwrap_or_default();
                    let number = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    let (first, second) = if fold.two { (number, item) } else { (item, Value::Null) };
                    if !self.step(fold, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in map.entries() {
                    let second = if fold.two { value } else { Value::Null };
                    if !self.step(fold, key, second)? {
                        break;
                    }
                }
            }
            other => {
                let name = other.type_name();
                return Err(EvalError::text(format!("got '{name}', expected iterable type")));
            }
        }
        let result = self.eval(&fold.result);
        self.slots[fold.slot] = Slot::Empty;
        result
    }

    /// One round; false when the condition ended the fold.
    fn step(&mut self, fold: &'a Fold, first: Value<'a>, second: Value<'a>) -> Result<bool> {
        self.slots[fold.slot + 1] = Slot::Ready(first);
        if fold.two {
            self.slots[fold.slot + 2] = Slot::Ready(second);
        }
        match self.eval(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
            _ => {}
        }
        let value = self.eval(&fold.step);
        self.keep(fold.slot, value)?;
        Ok(true)
    }
}

fn not_optional(key: &Value<'_>, value: &Value<'_>) -> EvalError {
    EvalError::text(format!("cannot initialize optional entry '{key}' from non-optional value {value}"))
}

fn missing(value: &Value<'_>, key: &Value<'_>) -> EvalError {
    match value {
        Value::List(_) => EvalError::text(format!("index out of bounds: {key}")),
        _ => EvalError::text(format!("no such key: {key}")),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only whole numbers in range are cast")]
fn index(key: &Value<'_>) -> Result<i64> {
    match key {
        Value::Int(index) => Ok(*index),
        Value::Uint(index) => {
            i64::try_from(*index).map_err(|_| EvalError::text(format!("unsupported index value {index} in list")))
        }
        Value::Double(index) if index.fract() == 0.0 && index.abs() < 9e15 => Ok(*index as i64),
        Value::Double(index) => Err(EvalError::text(format!("unsupported index value {index} in list"))),
        other => Err(EvalError::text(format!("unsupported index type '{}' in list", other.type_name()))),
    }
}
