//! Finds the type of every part of an expression, or says what is wrong with it.
//!
//! Upstream counterpart: `cel-go/checker/checker.go`, with Kubernetes' settings: literals of lists and maps have one type
//! throughout, numbers of different types may be compared.

mod literals;
mod unify;

use std::sync::Arc;

use crate::{
    ast::{Ast, Expr, Fold, Id, Literal, MapEntry, StructField},
    env::Env,
    error::{CompileError, Issues},
    library::{self, Function, Overload},
    syntax::operators,
    types::Type,
};
use unify::{Unifier, most_general};

/// An expression whose types are known.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) ast: Ast,
    types: Vec<Type>,
    /// Of calls: the overloads that agree with the arguments.
    overloads: Vec<Vec<&'static Overload>>,
    /// Names that are types or constants, not variables.
    pub(crate) constants: Vec<Option<Type>>,
}

impl Checked {
    pub(crate) fn ty(&self, id: Id) -> &Type {
        &self.types[id.0 as usize]
    }

    pub(crate) fn overloads(&self, id: Id) -> &[&'static Overload] {
        &self.overloads[id.0 as usize]
    }

    pub(crate) fn constant(&self, id: Id) -> Option<&Type> {
        self.constants[id.0 as usize].as_ref()
    }
}

pub(crate) fn check(ast: Ast, source: &str, env: &Env) -> Result<Checked, CompileError> {
    let count = ast.len();
    let mut checker = Checker {
        env,
        issues: Issues::new(),
        unifier: Unifier::default(),
        scopes: Vec::new(),
        out: Checked {
            types: vec![Type::Error; count],
            overloads: vec![Vec::new(); count],
            constants: vec![None; count],
            ast,
        },
    };
    let root = checker.out.ast.root;
    checker.check(root);
    let Checker { issues, unifier, mut out, .. } = checker;
    issues.finish(source)?;
    for ty in &mut out.types {
        *ty = unifier.substitute(ty, true);
    }
    let mut issues = Issues::new();
    literals::validate(&out, env, &mut issues);
    issues.finish(source)?;
    Ok(out)
}

struct Checker<'e> {
    env: &'e Env,
    issues: Issues,
    unifier: Unifier,
    /// Variables of folds, the innermost last.
    scopes: Vec<(Arc<str>, Type)>,
    out: Checked,
}

impl Checker<'_> {
    fn set(&mut self, id: Id, ty: Type) {
        self.out.types[id.0 as usize] = ty;
    }

    fn ty(&self, id: Id) -> Type {
        self.out.ty(id).clone()
    }

    fn fault(&mut self, id: Id, message: impl Into<String>) {
        let offset = self.out.ast.offset(id);
        self.issues.at(offset, message);
    }

    fn check(&mut self, id: Id) {
        match self.out.ast.get(id).clone() {
            Expr::Literal(literal) => {
                let ty = match literal {
                    Literal::Null => Type::Null,
                    Literal::Bool(_) => Type::Bool,
                    Literal::Int(_) => Type::Int,
                    Literal::Uint(_) => Type::Uint,
                    Literal::Double(_) => Type::Double,
                    Literal::String(_) => Type::String,
                    Literal::Bytes(_) => Type::Bytes,
                };
                self.set(id, ty);
            }
            Expr::Ident(name) => self.ident(id, &name),
            Expr::Select { operand, field, test_only } => self.select(id, operand, &field, test_only),
            Expr::Call { target, function, args } => self.call(id, target, &function, &args),
            Expr::List(elements) => self.list(id, &elements),
            Expr::Map(entries) => self.map(id, &entries),
            Expr::Struct { name, fields } => self.construct(id, &name, &fields),
            Expr::Fold(fold) => self.fold(id, &fold),
        }
    }

    // === names ===

    fn ident(&mut self, id: Id, name: &str) {
        if self.resolve(id, name) {
            return;
        }
        self.set(id, Type::Error);
        self.fault(id, format!("undeclared reference to '{name}' (in container '')"));
    }

    /// Makes the node a variable or a type, when its name is one.
    fn resolve(&mut self, id: Id, name: &str) -> bool {
        let global = name.strip_prefix('.');
        if global.is_none()
            && let Some((_, ty)) = self.scopes.iter().rev().find(|(local, _)| **local == *name)
        {
            let ty = ty.clone();
            self.out.ast.replace(id, Expr::Ident(name.into()));
            self.set(id, ty);
            return true;
        }
        let name = global.unwrap_or(name);
        if let Some(ty) = self.env.variable(name) {
            let ty = ty.clone();
            let local = self.scopes.iter().any(|(local, _)| **local == *name);
            // A variable that a fold's one hides is told from it by its dot.
            let shown = if local { format!(".{name}") } else { name.to_owned() };
            self.out.ast.replace(id, Expr::Ident(shown.into()));
            self.set(id, ty);
            return true;
        }
        if let Some(ty) = self.env.type_named(name) {
            self.out.constants[id.0 as usize] = Some(ty.clone());
            self.out.ast.replace(id, Expr::Ident(name.into()));
            self.set(id, Type::type_of(ty));
            return true;
        }
        false
    }

    /// `a.b.c`, when that is all it is.
    fn qualified(&self, id: Id) -> Option<String> {
        match self.out.ast.get(id) {
            Expr::Ident(name) => Some(name.to_string()),
            Expr::Select { operand, field, test_only: false } => Some(format!("{}.{field}", self.qualified(*operand)?)),
            _ => None,
        }
    }

    // === fields ===

    fn select(&mut self, id: Id, operand: Id, field: &str, test_only: bool) {
        if !test_only
            && let Some(name) = self.qualified(id)
            && !self.scopes.iter().any(|(local, _)| name.split('.').next() == Some(local))
            && self.resolve(id, &name)
        {
            return;
        }
        let ty = self.field(id, operand, field, false);
        let ty = if test_only { Type::Bool } else { self.unifier.substitute(&ty, false) };
        self.set(id, ty);
    }

    fn field(&mut self, id: Id, operand: Id, field: &str, optional: bool) -> Type {
        self.check(operand);
        let operand_type = self.unifier.substitute(self.out.ty(operand), false);
        let (target, was_optional) = match operand_type.as_optional() {
            Some(inner) => (inner.clone(), true),
            None => (operand_type, false),
        };
        let result = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Struct(object) => match object.fields.get(field) {
                Some(ty) => ty.clone(),
                None if object.open => Type::Dyn,
                None => match self.env.field(&target, field) {
                    Some(ty) => ty,
                    None => {
                        self.fault(id, format!("undefined field '{field}'"));
                        Type::Error
                    }
                },
            },
            Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.fault(id, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if was_optional || optional { Type::optional(result) } else { result }
    }

    // === calls ===

    fn call(&mut self, id: Id, target: Option<Id>, function: &str, args: &[Id]) {
        if function == operators::OPT_SELECT {
            let field = match self.out.ast.get(args[1]) {
                Expr::Literal(Literal::String(field)) => field.clone(),
                _ => return,
            };
            let ty = self.field(id, args[0], &field, true);
            self.check(args[1]);
            let ty = self.unifier.substitute(&ty, false);
            self.set(id, ty);
            return;
        }
        for arg in args {
            self.check(*arg);
        }
        let version = self.env.version();
        let Some(target) = target else {
            let name = function.strip_prefix('.').unwrap_or(function);
            match library::function(name, version) {
                Some(declared) => {
                    let expr = Expr::Call { target: None, function: declared.name.into(), args: args.to_vec() };
                    self.out.ast.replace(id, expr);
                    self.overload(id, declared, None, args);
                }
                None => self.undeclared(id, function),
            }
            return;
        };
        if let Some(prefix) = self.qualified(target)
            && let Some(declared) =
                library::function(&format!("{}.{function}", prefix.trim_start_matches('.')), version)
        {
            let expr = Expr::Call { target: None, function: declared.name.into(), args: args.to_vec() };
            self.out.ast.replace(id, expr);
            self.overload(id, declared, None, args);
            return;
        }
        self.check(target);
        match library::function(function, version) {
            Some(declared) => self.overload(id, declared, Some(target), args),
            None => self.undeclared(id, function),
        }
    }

    fn undeclared(&mut self, id: Id, function: &str) {
        self.set(id, Type::Error);
        self.fault(id, format!("undeclared reference to '{function}' (in container '')"));
    }

    fn overload(&mut self, id: Id, function: &'static Function, target: Option<Id>, args: &[Id]) {
        let ids: Vec<Id> = target.into_iter().chain(args.iter().copied()).collect();
        let types: Vec<Type> = ids.iter().map(|id| self.ty(*id)).collect();
        if matches!(function.name, operators::AND | operators::OR) {
            let mut good = true;
            for (arg, ty) in ids.iter().zip(&types) {
                if !self.unifier.assignable(ty, &Type::Bool) {
                    self.mismatch(*arg, &Type::Bool, ty);
                    good = false;
                }
            }
            self.out.overloads[id.0 as usize] = function.overloads.iter().collect();
            self.set(id, if good { Type::Bool } else { Type::Error });
            return;
        }
        let mut found: Option<Type> = None;
        let mut overloads = Vec::new();
        for overload in &function.overloads {
            let fits = overload.member == target.is_some() && overload.since <= self.env.version();
            if !fits || overload.params.len() != types.len() {
                continue;
            }
            let base = self.unifier.fresh(overload.generics);
            let params: Vec<Type> = overload.params.iter().map(|ty| instantiate(ty, base)).collect();
            if !self.unifier.all_assignable(&types, &params) {
                continue;
            }
            overloads.push(overload);
            let result = self.unifier.substitute(&instantiate(&overload.result, base), false);
            found = Some(match found {
                None => result,
                Some(first) if first.is_dyn() || result == first => first,
                Some(_) => Type::Dyn,
            });
        }
        let Some(ty) = found else {
            let shown: Vec<String> = types.iter().map(|ty| self.unifier.substitute(ty, true).to_string()).collect();
            let signature = match target {
                Some(_) => format!("{}.({})", shown[0], shown[1..].join(", ")),
                None => format!("({})", shown.join(", ")),
            };
            self.fault(id, format!("found no matching overload for '{}' applied to '{signature}'", function.name));
            self.set(id, Type::Error);
            return;
        };
        self.out.overloads[id.0 as usize] = overloads;
        self.set(id, ty);
    }

    fn mismatch(&mut self, id: Id, expected: &Type, actual: &Type) {
        self.fault(id, format!("expected type '{expected}' but found '{actual}'"));
    }

    // === literals ===

    fn list(&mut self, id: Id, elements: &[(Id, bool)]) {
        let mut joined = None;
        for (element, optional) in elements {
            self.check(*element);
            let ty = self.entry_type(*element, *optional);
            joined = Some(self.join(*element, joined, ty));
        }
        let element = joined.unwrap_or_else(|| self.unifier.variable());
        self.set(id, Type::list(element));
    }

    fn map(&mut self, id: Id, entries: &[MapEntry]) {
        let (mut key_type, mut value_type) = (None, None);
        for entry in entries {
            self.check(entry.key);
            let ty = self.ty(entry.key);
            key_type = Some(self.join(entry.key, key_type, ty));
            self.check(entry.value);
            let ty = self.entry_type(entry.value, entry.optional);
            value_type = Some(self.join(entry.value, value_type, ty));
        }
        let key = key_type.unwrap_or_else(|| self.unifier.variable());
        let value = value_type.unwrap_or_else(|| self.unifier.variable());
        self.set(id, Type::map(key, value));
    }

    fn entry_type(&mut self, id: Id, optional: bool) -> Type {
        let ty = self.ty(id);
        if !optional {
            return ty;
        }
        match ty.as_optional() {
            Some(inner) => inner.clone(),
            None => {
                if !ty.is_dyn() {
                    self.mismatch(id, &Type::optional(ty.clone()), &ty);
                }
                ty
            }
        }
    }

    fn join(&mut self, id: Id, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else { return current };
        if self.unifier.assignable(&previous, &current) {
            return most_general(&previous, &current);
        }
        self.mismatch(id, &previous, &current);
        Type::Error
    }

    fn construct(&mut self, id: Id, name: &str, fields: &[StructField]) {
        let name = name.strip_prefix('.').unwrap_or(name);
        let Some(ty) = self.env.type_named(name) else {
            self.set(id, Type::Error);
            self.fault(id, format!("undeclared reference to '{name}' (in container '')"));
            return;
        };
        let Type::Struct(object) = &ty else {
            self.fault(id, format!("'{name}' is not a message type"));
            self.set(id, Type::Error);
            return;
        };
        self.out.ast.replace(id, Expr::Struct { name: object.name.as_str().into(), fields: fields.to_vec() });
        for field in fields {
            self.check(field.value);
            let declared = object.fields.get(&*field.name).cloned().or_else(|| self.env.field(&ty, &field.name));
            let declared = declared.or_else(|| object.open.then_some(Type::Dyn));
            let value = self.entry_type(field.value, field.optional);
            let Some(declared) = declared else {
                self.issues.at(field.offset, format!("undefined field '{}'", field.name));
                continue;
            };
            if !self.unifier.assignable(&declared, &value) {
                let name = &field.name;
                let message = format!("expected type of field '{name}' is '{declared}' but provided type is '{value}'");
                self.issues.at(field.offset, message);
            }
        }
        self.set(id, ty.clone());
    }

    // === folds ===

    fn fold(&mut self, id: Id, fold: &Fold) {
        self.check(fold.range);
        self.check(fold.init);
        let range = self.unifier.substitute(self.out.ty(fold.range), false);
        let accu = self.ty(fold.init);
        let (var, var2) = match &range {
            Type::List(element) if fold.var2.is_some() => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Error),
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(fold.range, message);
                (Type::Error, Type::Error)
            }
        };
        let outside = self.scopes.len();
        self.scopes.push((fold.accu.clone(), accu.clone()));
        let inside = self.scopes.len();
        self.scopes.push((fold.var.clone(), var));
        if let Some(name) = &fold.var2 {
            self.scopes.push((name.clone(), var2));
        }
        self.check(fold.condition);
        self.assert(fold.condition, &Type::Bool);
        self.check(fold.step);
        self.assert(fold.step, &accu);
        self.scopes.truncate(inside);
        self.check(fold.result);
        self.scopes.truncate(outside);
        let ty = self.unifier.substitute(self.out.ty(fold.result), false);
        self.set(id, ty);
    }

    fn assert(&mut self, id: Id, expected: &Type) {
        let actual = self.ty(id);
        if !self.unifier.assignable(expected, &actual) {
            self.mismatch(id, expected, &actual);
        }
    }
}

/// The type with its parameters moved to those from `base` on.
fn instantiate(ty: &Type, base: u32) -> Type {
    match ty {
        Type::Param(id) => Type::Param(base + id),
        Type::List(element) => Type::list(instantiate(element, base)),
        Type::Map(entry) => Type::map(instantiate(&entry.0, base), instantiate(&entry.1, base)),
        Type::Opaque(name, params) if !params.is_empty() => {
            Type::Opaque(name.clone(), params.iter().map(|param| instantiate(param, base)).collect())
        }
        Type::Type(Some(inner)) => Type::type_of(instantiate(inner, base)),
        other => other.clone(),
    }
}
