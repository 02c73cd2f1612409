//! Macros: calls that are another expression. Upstream: `cel-go/parser/macro.go`, `ext/comprehensions.go`, `ext/lists.go`
//! (`sortBy`), `cel/library.go` (`optMap`, `optFlatMap`).

use std::sync::Arc;

use super::operators;
use crate::ast::{Ast, Expr, Fold, Id, Literal, MapEntry, StructField};

/// The variable in which folds collect; no expression can name it.
pub(crate) const ACCU: &str = "@result";
/// The iteration variable of folds that only bind.
const UNUSED_VAR: &str = "#unused";
const LEGACY_ACCU: &str = "__result__";
const SORT_INPUT: &str = "@__sortBy_input__";

pub(crate) struct Fault {
    pub(crate) offset: u32,
    pub(crate) message: String,
}

type Expanded = Result<Id, Fault>;

/// The expansion of a call, when it is a macro.
pub(crate) fn expand(ast: &mut Ast, offset: u32, function: &str, target: Option<Id>, args: &[Id]) -> Option<Expanded> {
    let mut maker = Maker { ast, offset };
    let Some(target) = target else {
        return (function == "has" && args.len() == 1).then(|| maker.has(args[0]));
    };
    Some(match (function, args.len()) {
        ("all", 2) => maker.all(target, args[0], None, args[1]),
        ("all", 3) => maker.all(target, args[0], Some(args[1]), args[2]),
        ("exists", 2) => maker.exists(target, args[0], None, args[1]),
        ("exists", 3) => maker.exists(target, args[0], Some(args[1]), args[2]),
        ("exists_one" | "existsOne", 2) => maker.exists_one(target, args[0], None, args[1]),
        ("exists_one" | "existsOne", 3) => maker.exists_one(target, args[0], Some(args[1]), args[2]),
        ("map", 2) => maker.map(target, args[0], None, args[1]),
        ("map", 3) => maker.map(target, args[0], Some(args[1]), args[2]),
        ("filter", 2) => maker.filter(target, args[0], args[1]),
        ("transformList", 3) => maker.transform(Into::List, target, args[0], args[1], None, args[2]),
        ("transformList", 4) => maker.transform(Into::List, target, args[0], args[1], Some(args[2]), args[3]),
        ("transformMap", 3) => maker.transform(Into::Map, target, args[0], args[1], None, args[2]),
        ("transformMap", 4) => maker.transform(Into::Map, target, args[0], args[1], Some(args[2]), args[3]),
        ("transformMapEntry", 3) => maker.transform(Into::Entry, target, args[0], args[1], None, args[2]),
        ("transformMapEntry", 4) => maker.transform(Into::Entry, target, args[0], args[1], Some(args[2]), args[3]),
        ("optMap", 2) => maker.opt_map("optMap", target, args[0], args[1]),
        ("optFlatMap", 2) => maker.opt_map("optFlatMap", target, args[0], args[1]),
        ("sortBy", 2) => maker.sort_by(target, args[0], args[1]),
        _ => return None,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Into {
    List,
    Map,
    Entry,
}

struct Maker<'a> {
    ast: &'a mut Ast,
    offset: u32,
}

struct Vars {
    first: Arc<str>,
    second: Option<Arc<str>>,
}

impl Maker<'_> {
    fn has(&mut self, arg: Id) -> Expanded {
        let Expr::Select { operand, field, .. } = self.ast.get(arg).clone() else {
            return Err(self.fault(arg, "invalid argument to has() macro"));
        };
        Ok(self.push(Expr::Select { operand, field, test_only: true }))
    }

    fn all(&mut self, range: Id, var: Id, var2: Option<Id>, predicate: Id) -> Expanded {
        let vars = self.vars(var, var2)?;
        let init = self.push(Expr::Literal(Literal::Bool(true)));
        let accu = self.accu();
        let condition = self.call(operators::NOT_STRICTLY_FALSE, vec![accu]);
        let accu = self.accu();
        let step = self.call(operators::AND, vec![accu, predicate]);
        let result = self.accu();
        Ok(self.fold(range, vars, init, condition, step, result))
    }

    fn exists(&mut self, range: Id, var: Id, var2: Option<Id>, predicate: Id) -> Expanded {
        let vars = self.vars(var, var2)?;
        let init = self.push(Expr::Literal(Literal::Bool(false)));
        let accu = self.accu();
        let not = self.call(operators::NOT, vec![accu]);
        let condition = self.call(operators::NOT_STRICTLY_FALSE, vec![not]);
        let accu = self.accu();
        let step = self.call(operators::OR, vec![accu, predicate]);
        let result = self.accu();
        Ok(self.fold(range, vars, init, condition, step, result))
    }

    fn exists_one(&mut self, range: Id, var: Id, var2: Option<Id>, predicate: Id) -> Expanded {
        let vars = self.vars(var, var2)?;
        let init = self.int(0);
        let condition = self.push(Expr::Literal(Literal::Bool(true)));
        let (accu, one) = (self.accu(), self.int(1));
        let more = self.call(operators::ADD, vec![accu, one]);
        let accu = self.accu();
        let step = self.call(operators::CONDITIONAL, vec![predicate, more, accu]);
        let (accu, one) = (self.accu(), self.int(1));
        let result = self.call(operators::EQUALS, vec![accu, one]);
        Ok(self.fold(range, vars, init, condition, step, result))
    }

    fn map(&mut self, range: Id, var: Id, filter: Option<Id>, transform: Id) -> Expanded {
        let vars = self.list_var(var)?;
        let step = self.append(transform);
        Ok(self.collect(range, vars, Expr::List(Vec::new()), filter, step))
    }

    fn filter(&mut self, range: Id, var: Id, predicate: Id) -> Expanded {
        let vars = self.list_var(var)?;
        let step = self.append(var);
        Ok(self.collect(range, vars, Expr::List(Vec::new()), Some(predicate), step))
    }

    fn transform(&mut self, into: Into, range: Id, var: Id, var2: Id, filter: Option<Id>, transform: Id) -> Expanded {
        let vars = self.vars(var, Some(var2))?;
        let (init, step) = match into {
            Into::List => (Expr::List(Vec::new()), self.append(transform)),
            Into::Map => {
                let accu = self.accu();
                let key = self.push(Expr::Ident(vars.first.clone()));
                (Expr::Map(Vec::new()), self.call(operators::MAP_INSERT, vec![accu, key, transform]))
            }
            Into::Entry => {
                let accu = self.accu();
                (Expr::Map(Vec::new()), self.call(operators::MAP_INSERT, vec![accu, transform]))
            }
        };
        Ok(self.collect(range, vars, init, filter, step))
    }

    fn opt_map(&mut self, name: &str, target: Id, var: Id, expr: Id) -> Expanded {
        let Expr::Ident(var_name) = self.ast.get(var).clone() else {
            return Err(self.fault(var, format!("{name}() variable name must be a simple identifier")));
        };
        let has = self.member("hasValue", target, Vec::new());
        let copied = self.copy(target);
        let value = self.member("value", copied, Vec::new());
        let bound = self.bind(var_name, value, expr);
        let then = if name == "optMap" { self.call("optional.of", vec![bound]) } else { bound };
        let none = self.call("optional.none", Vec::new());
        Ok(self.call(operators::CONDITIONAL, vec![has, then, none]))
    }

    fn sort_by(&mut self, target: Id, var: Id, key: Id) -> Expanded {
        if matches!(self.ast.get(target), Expr::Literal(_) | Expr::Map(_) | Expr::Struct { .. }) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err(self.fault(target, message));
        }
        let name: Arc<str> = SORT_INPUT.into();
        let input = self.push(Expr::Ident(name.clone()));
        let keys = self.map(input, var, None, key)?;
        let input = self.push(Expr::Ident(name.clone()));
        let sorted = self.member("@sortByAssociatedKeys", input, vec![keys]);
        Ok(self.bind(name, target, sorted))
    }

    // === pieces ===

    fn bind(&mut self, name: Arc<str>, value: Id, result: Id) -> Id {
        let range = self.push(Expr::List(Vec::new()));
        let condition = self.push(Expr::Literal(Literal::Bool(false)));
        let step = self.push(Expr::Ident(name.clone()));
        self.push(Expr::Fold(Box::new(Fold {
            range,
            var: UNUSED_VAR.into(),
            var2: None,
            accu: name,
            init: value,
            condition,
            step,
            result,
        })))
    }

    fn collect(&mut self, range: Id, vars: Vars, init: Expr, filter: Option<Id>, step: Id) -> Id {
        let init = self.push(init);
        let condition = self.push(Expr::Literal(Literal::Bool(true)));
        let step = match filter {
            None => step,
            Some(filter) => {
                let accu = self.accu();
                self.call(operators::CONDITIONAL, vec![filter, step, accu])
            }
        };
        let result = self.accu();
        self.fold(range, vars, init, condition, step, result)
    }

    fn append(&mut self, element: Id) -> Id {
        let accu = self.accu();
        let list = self.push(Expr::List(vec![(element, false)]));
        self.call(operators::ADD, vec![accu, list])
    }

    fn fold(&mut self, range: Id, vars: Vars, init: Id, condition: Id, step: Id, result: Id) -> Id {
        self.push(Expr::Fold(Box::new(Fold {
            range,
            var: vars.first,
            var2: vars.second,
            accu: ACCU.into(),
            init,
            condition,
            step,
            result,
        })))
    }

    fn accu(&mut self) -> Id {
        self.push(Expr::Ident(ACCU.into()))
    }

    fn int(&mut self, value: i64) -> Id {
        self.push(Expr::Literal(Literal::Int(value)))
    }

    fn call(&mut self, function: &str, args: Vec<Id>) -> Id {
        self.push(Expr::Call { target: None, function: function.into(), args })
    }

    fn member(&mut self, function: &str, target: Id, args: Vec<Id>) -> Id {
        self.push(Expr::Call { target: Some(target), function: function.into(), args })
    }

    fn push(&mut self, expr: Expr) -> Id {
        self.ast.push(self.offset, expr)
    }

    fn fault(&self, id: Id, message: impl std::convert::Into<String>) -> Fault {
        Fault { offset: self.ast.offset(id), message: message.into() }
    }

    fn vars(&self, var: Id, var2: Option<Id>) -> Result<Vars, Fault> {
        let first = self.var(var, "argument must be a simple name")?;
        let Some(var2) = var2 else {
            return Ok(Vars { first: self.allowed(var, first)?, second: None });
        };
        let second = self.var(var2, "argument must be a simple name")?;
        if first == second {
            return Err(self.fault(var2, format!("duplicate variable name: {first}")));
        }
        Ok(Vars { first: self.allowed(var, first)?, second: Some(self.allowed(var2, second)?) })
    }

    fn list_var(&self, var: Id) -> Result<Vars, Fault> {
        let first = self.var(var, "argument is not an identifier")?;
        Ok(Vars { first: self.allowed(var, first)?, second: None })
    }

    fn var(&self, id: Id, message: &str) -> Result<Arc<str>, Fault> {
        match self.ast.get(id) {
            Expr::Ident(name) => Ok(name.clone()),
            _ => Err(self.fault(id, message)),
        }
    }

    fn allowed(&self, id: Id, name: Arc<str>) -> Result<Arc<str>, Fault> {
        if &*name == ACCU || &*name == LEGACY_ACCU {
            return Err(self.fault(id, "iteration variable overwrites accumulator variable"));
        }
        Ok(name)
    }

    /// The same expression once more, with ids of its own.
    fn copy(&mut self, id: Id) -> Id {
        let offset = self.ast.offset(id);
        let expr = match self.ast.get(id).clone() {
            expr @ (Expr::Literal(_) | Expr::Ident(_)) => expr,
            Expr::Select { operand, field, test_only } => {
                Expr::Select { operand: self.copy(operand), field, test_only }
            }
            Expr::Call { target, function, args } => Expr::Call {
                target: target.map(|target| self.copy(target)),
                function,
                args: args.into_iter().map(|arg| self.copy(arg)).collect(),
            },
            Expr::List(elements) => {
                Expr::List(elements.into_iter().map(|(id, optional)| (self.copy(id), optional)).collect())
            }
            Expr::Map(entries) => {
                let copied = entries.into_iter().map(|entry| MapEntry {
                    key: self.copy(entry.key),
                    value: self.copy(entry.value),
                    optional: entry.optional,
                });
                Expr::Map(copied.collect())
            }
            Expr::Struct { name, fields } => {
                let copied = fields.into_iter().map(|field| StructField { value: self.copy(field.value), ..field });
                Expr::Struct { name, fields: copied.collect() }
            }
            Expr::Fold(fold) => Expr::Fold(Box::new(Fold {
                range: self.copy(fold.range),
                init: self.copy(fold.init),
                condition: self.copy(fold.condition),
                step: self.copy(fold.step),
                result: self.copy(fold.result),
                ..*fold
            })),
        };
        self.ast.push(offset, expr)
    }
}
