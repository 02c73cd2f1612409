//! Whether types agree, and what type variables stand for. Upstream: `cel-go/checker/types.go`, `mapping.go`.

use crate::types::Type;

/// Type variables and what they are known to be.
#[derive(Default)]
pub(super) struct Unifier {
    /// By number.
    known: Vec<Option<Type>>,
    /// What to restore when an attempt fails.
    undo: Vec<(u32, Option<Type>)>,
}

impl Unifier {
    /// The number of the first of so many new variables.
    pub(super) fn fresh(&mut self, count: u32) -> u32 {
        let base = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        self.known.resize(self.known.len() + count as usize, None);
        base
    }

    pub(super) fn variable(&mut self) -> Type {
        Type::Param(self.fresh(1))
    }

    fn find(&self, ty: &Type) -> Option<&Type> {
        match ty {
            Type::Param(id) => self.known.get(*id as usize)?.as_ref(),
            _ => None,
        }
    }

    fn learn(&mut self, variable: &Type, ty: Type) {
        let Type::Param(id) = variable else { return };
        if let Some(slot) = self.known.get_mut(*id as usize) {
            self.undo.push((*id, slot.replace(ty)));
        }
    }

    /// Whether the second type can stand where the first is; variables learn from it.
    pub(super) fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        self.all_assignable(std::slice::from_ref(a), std::slice::from_ref(b))
    }

    pub(super) fn all_assignable(&mut self, a: &[Type], b: &[Type]) -> bool {
        self.undo.clear();
        let good = self.all(a, b);
        if !good {
            while let Some((id, old)) = self.undo.pop() {
                self.known[id as usize] = old;
            }
        }
        good
    }

    fn all(&mut self, a: &[Type], b: &[Type]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.agree(a, b))
    }

    fn agree(&mut self, a: &Type, b: &Type) -> bool {
        if matches!(b, Type::Param(_)) {
            let (valid, known) = self.stands_for(a, b);
            if valid {
                return true;
            }
            if known {
                return false;
            }
        }
        if matches!(a, Type::Param(_)) {
            return self.stands_for(b, a).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => is_nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => {
                let (a, b) = (a.clone(), b.clone());
                self.agree(&a, &b)
            }
            (Type::Map(a), Type::Map(b)) => {
                let (a, b) = (a.clone(), b.clone());
                self.agree(&a.0, &b.0) && self.agree(&a.1, &b.1)
            }
            (Type::Opaque(a, p), Type::Opaque(b, q)) => {
                a == b && {
                    let (p, q) = (p.clone(), q.clone());
                    self.all(&p, &q)
                }
            }
            _ => a == b,
        }
    }

    /// Whether the variable `b` can be `a`, and whether something was known of it.
    fn stands_for(&mut self, a: &Type, b: &Type) -> (bool, bool) {
        if a == b {
            return (true, true);
        }
        if let Some(known) = self.find(b).cloned() {
            if *a == known {
                return (true, true);
            }
            if self.agree(a, &known) {
                let general = most_general(a, &known);
                if self.absent(b, &general) {
                    self.learn(b, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.absent(b, a) {
            self.learn(b, a.clone());
            return (true, false);
        }
        (false, false)
    }

    /// The variable does not occur in the type.
    fn absent(&self, variable: &Type, within: &Type) -> bool {
        if variable == within {
            return false;
        }
        match within {
            Type::Param(_) => self.find(within).is_none_or(|known| self.absent(variable, known)),
            Type::List(element) => self.absent(variable, element),
            Type::Map(entry) => self.absent(variable, &entry.0) && self.absent(variable, &entry.1),
            Type::Opaque(_, params) => params.iter().all(|param| self.absent(variable, param)),
            Type::Type(Some(inner)) => self.absent(variable, inner),
            _ => true,
        }
    }

    /// The type with all that is known put in; what is not known is dynamic, if so wished.
    pub(super) fn substitute(&self, ty: &Type, unknown_is_dyn: bool) -> Type {
        match ty {
            Type::Param(_) => match self.find(ty) {
                Some(known) => self.substitute(known, unknown_is_dyn),
                None if unknown_is_dyn => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(element) => Type::list(self.substitute(element, unknown_is_dyn)),
            Type::Map(entry) => {
                Type::map(self.substitute(&entry.0, unknown_is_dyn), self.substitute(&entry.1, unknown_is_dyn))
            }
            Type::Opaque(name, params) if !params.is_empty() => {
                Type::Opaque(name.clone(), params.iter().map(|param| self.substitute(param, unknown_is_dyn)).collect())
            }
            Type::Type(Some(inner)) => Type::type_of(self.substitute(inner, unknown_is_dyn)),
            other => other.clone(),
        }
    }
}

fn is_nullable(ty: &Type) -> bool {
    matches!(ty, Type::Null | Type::Opaque(..) | Type::Struct(_) | Type::Duration | Type::Timestamp)
}

/// Of two types that agree, the one that says less.
pub(super) fn most_general(a: &Type, b: &Type) -> Type {
    if is_less_specific(a, b) { a.clone() } else { b.clone() }
}

fn is_less_specific(a: &Type, b: &Type) -> bool {
    if matches!(a, Type::Dyn | Type::Param(_)) {
        return true;
    }
    if matches!(b, Type::Dyn | Type::Param(_)) {
        return false;
    }
    match (a, b) {
        (Type::Opaque(a, p), Type::Opaque(b, q)) => {
            a == b && p.len() == q.len() && p.iter().zip(q.iter()).all(|(p, q)| is_less_specific(p, q))
        }
        (Type::List(a), Type::List(b)) => is_less_specific(a, b),
        (Type::Map(a), Type::Map(b)) => is_less_specific(&a.0, &b.0) && is_less_specific(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        _ => a == b,
    }
}
