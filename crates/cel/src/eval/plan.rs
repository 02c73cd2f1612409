//! A checked tree to a plan: names become slots, constants are computed, calls find their functions.

use std::sync::Arc;

use super::{
    node::{Attr, Base, Branch, Call, Conditional, ConstSet, Fold, MapNode, Node, ObjectNode, Qualifier, QualifierKey},
    run,
};
use crate::{
    ast::{self, Expr, Id, Literal},
    check::Checked,
    cost::CallCost,
    error::{CompileError, EvalError},
    functions::{self, pattern},
    syntax::{ACCU, operators},
    value::Value,
};

pub(super) struct Planned {
    pub(super) node: Node,
    pub(super) locals: usize,
    pub(super) variables: Vec<Arc<str>>,
}

pub(super) fn plan(checked: &Checked, _source: &str) -> Result<Planned, CompileError> {
    let mut planner = Planner { checked, scopes: Vec::new(), next: 0, locals: 0, variables: Vec::new() };
    let node = planner.node(checked.ast.root).map_err(|error| CompileError::instantiation(&error))?;
    Ok(Planned { node, locals: planner.locals, variables: planner.variables })
}

type Made<T> = Result<T, EvalError>;

struct Planner<'c> {
    checked: &'c Checked,
    /// Variables of folds with their slots, the innermost last.
    scopes: Vec<(Arc<str>, usize)>,
    next: usize,
    locals: usize,
    variables: Vec<Arc<str>>,
}

impl Planner<'_> {
    fn node(&mut self, id: Id) -> Made<Node> {
        Ok(match self.checked.ast.get(id) {
            Expr::Literal(literal) => Node::Const(constant(literal)),
            Expr::Ident(name) => self.ident(id, name),
            Expr::Select { operand, field, test_only } => {
                if let Some(ty) = self.checked.constant(id) {
                    return Ok(Node::Const(Value::Type(Arc::new(ty.clone()))));
                }
                let operand = self.node(*operand)?;
                if *test_only {
                    return Ok(has(operand, field.clone()));
                }
                qualify(operand, field_qualifier(field, false))
            }
            Expr::Call { target, function, args } => return self.call(id, *target, function, args),
            Expr::List(elements) => {
                let mut nodes = Vec::with_capacity(elements.len());
                for (element, optional) in elements {
                    nodes.push((self.node(*element)?, *optional));
                }
                return fold_constant(Node::List(nodes.into()));
            }
            Expr::Map(entries) => {
                let mut nodes = Vec::with_capacity(entries.len());
                for entry in entries {
                    let (key, value) = (self.node(entry.key)?, self.node(entry.value)?);
                    nodes.push(MapNode { key, value, optional: entry.optional });
                }
                return fold_constant(Node::Map(nodes.into()));
            }
            Expr::Struct { fields, .. } => {
                let mut nodes = Vec::with_capacity(fields.len());
                for field in fields {
                    nodes.push((field.name.clone(), self.node(field.value)?, field.optional));
                }
                Node::Object(Box::new(ObjectNode { ty: self.checked.ty(id).clone(), fields: nodes }))
            }
            Expr::Fold(fold) => return self.fold(fold),
        })
    }

    fn ident(&mut self, id: Id, name: &Arc<str>) -> Node {
        if let Some(ty) = self.checked.constant(id) {
            return Node::Const(Value::Type(Arc::new(ty.clone())));
        }
        let base = match self.slot(name) {
            Some(slot) => Base::Local(slot),
            None => {
                let name: Arc<str> = name.strip_prefix('.').map_or_else(|| name.clone(), Into::into);
                if !self.variables.contains(&name) {
                    self.variables.push(name.clone());
                }
                Base::Variable(name)
            }
        };
        Node::Attr(Box::new(Attr { base, qualifiers: Vec::new() }))
    }

    fn slot(&self, name: &str) -> Option<usize> {
        self.scopes.iter().rev().find(|(known, _)| **known == *name).map(|(_, slot)| *slot)
    }

    fn call(&mut self, id: Id, target: Option<Id>, function: &str, args: &[Id]) -> Made<Node> {
        if let Some(node) = self.accumulate(function, args)? {
            return Ok(node);
        }
        let mut nodes = Vec::with_capacity(args.len() + 1);
        for arg in target.iter().chain(args) {
            nodes.push(self.node(*arg)?);
        }
        match function {
            operators::AND => return Ok(Node::And(Box::new(pair(nodes)))),
            operators::OR => return Ok(Node::Or(Box::new(pair(nodes)))),
            operators::EQUALS => return Ok(Node::Equal { sides: Box::new(pair(nodes)), negated: false }),
            operators::NOT_EQUALS => return Ok(Node::Equal { sides: Box::new(pair(nodes)), negated: true }),
            operators::CONDITIONAL => {
                let otherwise = branch(nodes.pop().unwrap_or_else(null));
                let then = branch(nodes.pop().unwrap_or_else(null));
                let condition = nodes.pop().unwrap_or_else(null);
                return Ok(Node::Conditional(Box::new(Conditional { condition, then, otherwise })));
            }
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => {
                let [operand, key] = pair(nodes);
                let key = match key {
                    Node::Const(value) => QualifierKey::Const(value),
                    other => QualifierKey::Computed(Arc::new(other)),
                };
                return Ok(qualify(operand, Qualifier { key, optional: function != operators::INDEX }));
            }
            "or" if target.is_some() => return Ok(Node::OptionalOr { sides: Box::new(pair(nodes)), unwrap: false }),
            "orValue" if target.is_some() => {
                return Ok(Node::OptionalOr { sides: Box::new(pair(nodes)), unwrap: true });
            }
            _ => {}
        }
        let overload = match self.checked.overloads(id) {
            [only] => only.id,
            _ => "",
        };
        if overload == "in_list"
            && let [_, Node::Const(Value::List(list))] = nodes.as_slice()
        {
            if list.is_empty() {
                return Ok(Node::Const(Value::Bool(false)));
            }
            if let Some(set) = ConstSet::of(&list.to_vec()) {
                let [value, _] = pair(nodes);
                return Ok(Node::InSet(Box::new(value), Box::new(set)));
            }
        }
        let Some((name, run)) = functions::find(function) else {
            return Err(EvalError::text(format!("no such overload: {function}")));
        };
        let pattern = match (name, nodes.get(1)) {
            ("matches" | "find" | "findAll", Some(Node::Const(Value::String(text)))) => Some(pattern::compile(text)?),
            _ => None,
        };
        let constant = functions::is_conversion(name) && matches!(nodes.as_slice(), [Node::Const(_)]);
        let call = Node::Call(Box::new(Call {
            function: name,
            overload,
            run,
            cost: CallCost::of(name, overload),
            args: nodes,
            pattern,
        }));
        if constant { Ok(Node::Const(run::constant(&call)?)) } else { Ok(call) }
    }

    /// What folds do to their accumulator, so that it can be done in place.
    fn accumulate(&mut self, function: &str, args: &[Id]) -> Made<Option<Node>> {
        let Some(slot) = args.first().and_then(|first| match self.checked.ast.get(*first) {
            Expr::Ident(name) if &**name == ACCU => self.slot(name),
            _ => None,
        }) else {
            return Ok(None);
        };
        if function == operators::MAP_INSERT {
            let mut nodes = Vec::new();
            for arg in &args[1..] {
                nodes.push(self.node(*arg)?);
            }
            return Ok(Some(Node::Insert { slot, args: nodes.into() }));
        }
        if function == operators::ADD
            && let Some(Expr::List(elements)) = args.get(1).map(|second| self.checked.ast.get(*second))
            && let [(element, false)] = elements.as_slice()
        {
            let element = Box::new(self.node(*element)?);
            return Ok(Some(Node::Append { slot, element }));
        }
        Ok(None)
    }

    fn fold(&mut self, fold: &ast::Fold) -> Made<Node> {
        let range = self.node(fold.range)?;
        let init = self.node(fold.init)?;
        let slot = self.next;
        self.next += 3;
        self.locals = self.locals.max(self.next);
        let outside = self.scopes.len();
        self.scopes.push((fold.accu.clone(), slot));
        let inside = self.scopes.len();
        self.scopes.push((fold.var.clone(), slot + 1));
        if let Some(name) = &fold.var2 {
            self.scopes.push((name.clone(), slot + 2));
        }
        let condition = self.node(fold.condition)?;
        let step = self.node(fold.step)?;
        self.scopes.truncate(inside);
        let result = self.node(fold.result)?;
        self.scopes.truncate(outside);
        self.next = slot;
        let two = fold.var2.is_some();
        Ok(Node::Fold(Box::new(Fold { range, init, condition, step, result, slot, two })))
    }
}

fn null() -> Node {
    Node::Const(Value::Null)
}

/// The two operands of what has two: the checker saw to that.
fn pair(mut nodes: Vec<Node>) -> [Node; 2] {
    let second = nodes.pop().unwrap_or_else(null);
    let first = nodes.pop().unwrap_or_else(null);
    [first, second]
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::string(text.clone()),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}

fn fold_constant(node: Node) -> Made<Node> {
    let constant = match &node {
        Node::List(elements) => elements.iter().all(|(element, _)| matches!(element, Node::Const(_))),
        Node::Map(entries) => {
            entries.iter().all(|entry| matches!(entry.key, Node::Const(_)) && matches!(entry.value, Node::Const(_)))
        }
        _ => false,
    };
    if constant { run::constant(&node).map(Node::Const) } else { Ok(node) }
}

fn field_qualifier(field: &Arc<str>, optional: bool) -> Qualifier {
    Qualifier { key: QualifierKey::Const(Value::string(field.clone())), optional }
}

/// The operand with one more field or index.
fn qualify(operand: Node, qualifier: Qualifier) -> Node {
    match operand {
        Node::Attr(mut attr) => {
            attr.qualifiers.push(qualifier);
            Node::Attr(attr)
        }
        Node::Conditional(mut conditional) => {
            conditional.qualify(&qualifier);
            Node::Conditional(conditional)
        }
        other => Node::Attr(Box::new(Attr { base: Base::Value(other), qualifiers: vec![qualifier] })),
    }
}

fn has(operand: Node, field: Arc<str>) -> Node {
    match operand {
        Node::Attr(attr) => Node::Has(attr, field),
        other => Node::Has(Box::new(Attr { base: Base::Value(other), qualifiers: Vec::new() }), field),
    }
}

fn branch(node: Node) -> Branch {
    match node {
        Node::Attr(attr) => Branch::Attr(*attr),
        Node::Conditional(conditional) => Branch::Conditional(conditional),
        other => Branch::Attr(Attr { base: Base::Value(other), qualifiers: Vec::new() }),
    }
}

impl Conditional {
    fn qualify(&mut self, qualifier: &Qualifier) {
        for branch in [&mut self.then, &mut self.otherwise] {
            match branch {
                Branch::Attr(attr) => attr.qualifiers.push(qualifier.clone()),
                Branch::Conditional(conditional) => conditional.qualify(qualifier),
            }
        }
    }
}
