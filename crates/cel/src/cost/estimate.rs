//! The cost of an expression before it is evaluated. Upstream: `checker.Cost` with Kubernetes' `CostEstimator`.

use std::{collections::HashMap, sync::Arc};

use super::{CostRange, FORMAT_REGEX, REGEX, TRAVERSAL};
use crate::{
    ast::{Expr, Fold, Id, Literal},
    check::Checked,
    schema::{DeclKind, DeclType},
    syntax::{ACCU, operators},
    types::Type,
    value::chars,
};

/// A step from a variable to what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPart {
    /// A variable or a field, as the expression names it.
    Name(Arc<str>),
    Items,
    Indices,
    Keys,
    Values,
}

/// Says how large what is found at a path can be.
pub trait Sizes {
    /// `path` starts with the variable. None: not known.
    fn size(&self, path: &[PathPart]) -> Option<CostRange>;
}

/// Nothing is known.
pub struct NoSizes;

impl Sizes for NoSizes {
    fn size(&self, _path: &[PathPart]) -> Option<CostRange> {
        None
    }
}

/// Every variable is of this type: `self` and `oldSelf` of a custom resource's rule.
impl Sizes for DeclType {
    fn size(&self, path: &[PathPart]) -> Option<CostRange> {
        let mut ty = self;
        let mut key = false;
        for part in path.iter().skip(1) {
            if key {
                return None;
            }
            match part {
                PathPart::Items | PathPart::Values => ty = ty.element()?,
                PathPart::Keys => {
                    matches!(ty.kind, DeclKind::Map(_)).then_some(())?;
                    key = true;
                }
                PathPart::Indices => return None,
                PathPart::Name(name) => ty = ty.field(name)?,
            }
        }
        if path.is_empty() {
            return None;
        }
        Some(CostRange::new(0, if key { 0 } else { ty.max_elements }))
    }
}

pub(crate) fn estimate(checked: &Checked, sizes: &dyn Sizes) -> CostRange {
    let mut coster = Coster {
        checked,
        sizes,
        paths: HashMap::new(),
        computed: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    coster.cost(checked.ast.root)
}

const ONE: CostRange = CostRange::fixed(1);
const ZERO: CostRange = CostRange::fixed(0);
const LIST: CostRange = CostRange::fixed(10);

type Path = Vec<PathPart>;

/// Sizes of keys or indices, and of values or items, of what has them.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: CostRange,
    value: CostRange,
}

impl Entries {
    fn union(self, other: Self) -> Self {
        Self { list: self.list, key: self.key.union(other.key), value: self.value.union(other.value) }
    }
}

struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<CostRange>,
    entries: Option<Entries>,
}

struct Coster<'c> {
    checked: &'c Checked,
    sizes: &'c dyn Sizes,
    paths: HashMap<Id, Path>,
    computed: HashMap<Id, CostRange>,
    entries: HashMap<Id, Entries>,
    locals: Vec<Local>,
}

struct Estimate {
    cost: CostRange,
    size: Option<CostRange>,
}

impl Estimate {
    fn cost(cost: CostRange) -> Self {
        Self { cost, size: None }
    }

    fn sized(cost: CostRange, size: CostRange) -> Self {
        Self { cost, size: Some(size) }
    }
}

impl Coster<'_> {
    fn cost(&mut self, id: Id) -> CostRange {
        let checked = self.checked;
        match checked.ast.get(id) {
            Expr::Literal(_) => ZERO,
            Expr::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => vec![PathPart::Name(name.clone())],
                };
                self.paths.insert(id, path);
                ONE
            }
            Expr::Select { operand, field, test_only } => {
                let cost = self.cost(*operand);
                if *test_only {
                    return cost;
                }
                let mut path = self.path(*operand);
                path.push(PathPart::Name(field.clone()));
                self.paths.insert(id, path);
                match checked.ty(*operand) {
                    Type::Map(_) | Type::Struct(_) | Type::Param(_) => cost.plus(ONE),
                    _ => cost,
                }
            }
            Expr::Call { target, function, args } => self.call(id, *target, function, args),
            Expr::List(elements) => {
                let mut cost = ZERO;
                let mut item = CostRange::new(if elements.is_empty() { 0 } else { u64::MAX }, 0);
                for (element, _) in elements {
                    cost = cost.plus(self.cost(*element));
                    item = item.union(self.size_or_unknown(*element));
                }
                self.entries.insert(id, Entries { list: true, key: ONE, value: item });
                cost.plus(LIST)
            }
            Expr::Map(entries) => {
                let mut cost = ZERO;
                let least = if entries.is_empty() { 0 } else { u64::MAX };
                let (mut key, mut value) = (CostRange::new(least, 0), CostRange::new(least, 0));
                for entry in entries {
                    cost = cost.plus(self.cost(entry.key)).plus(self.cost(entry.value));
                    key = key.union(self.size_or_unknown(entry.key));
                    value = value.union(self.size_or_unknown(entry.value));
                }
                self.entries.insert(id, Entries { list: false, key, value });
                cost.plus(CostRange::fixed(30))
            }
            Expr::Struct { fields, .. } => {
                let mut cost = CostRange::fixed(40);
                for field in fields {
                    cost = cost.plus(self.cost(field.value));
                }
                cost
            }
            Expr::Fold(fold) => self.fold(id, fold),
        }
    }

    fn fold(&mut self, id: Id, fold: &Fold) -> CostRange {
        let mut cost = self.cost(fold.range).plus(self.cost(fold.init));
        let depth = self.locals.len();
        let (path, size, entries) = (self.path(fold.init), self.size(fold.init), self.entry(fold.init));
        self.push(&fold.accu, path, size, entries);
        if self.is_bind(fold) {
            cost = cost.plus(self.cost(fold.result));
            self.locals.truncate(depth);
            if let Some(size) = self.size(fold.result) {
                self.computed.insert(id, size);
            }
            if let Some(entries) = self.entry(fold.result) {
                self.entries.insert(id, entries);
            }
            return cost;
        }
        let entries = self.entry(fold.range);
        let list = entries.map_or(matches!(self.checked.ty(fold.range), Type::List(_)), |entries| entries.list);
        let path = self.path(fold.range);
        let at = |part: PathPart| {
            let mut path = path.clone();
            path.push(part);
            path
        };
        let (key, value) = (entries.map(|entries| entries.key), entries.map(|entries| entries.value));
        let keys = if list { PathPart::Indices } else { PathPart::Keys };
        let values = if list { PathPart::Items } else { PathPart::Values };
        match &fold.var2 {
            Some(second) => {
                self.push(&fold.var, at(keys), key, None);
                self.push(second, at(values), value, None);
            }
            None if list => self.push(&fold.var, at(values), value, None),
            None => self.push(&fold.var, at(keys), key, None),
        }
        let round = self.cost(fold.condition).plus(self.cost(fold.step));
        self.locals.truncate(depth + 1);
        cost = cost.plus(self.cost(fold.result));
        self.locals.truncate(depth);
        let rounds = self.size_or_unknown(fold.range);
        cost = cost.plus(rounds.times(round));
        match self.checked.ast.get(fold.init) {
            Expr::Literal(_) => {
                if let Some(size) = self.size(fold.init) {
                    self.computed.insert(id, size);
                }
            }
            Expr::List(_) | Expr::Map(_) => {
                self.computed.insert(id, rounds);
                if let Some(entries) = self.entry(fold.step) {
                    self.entries.insert(id, entries);
                }
            }
            _ => {}
        }
        cost
    }

    fn is_bind(&self, fold: &Fold) -> bool {
        matches!(self.checked.ast.get(fold.range), Expr::List(elements) if elements.is_empty())
            && matches!(self.checked.ast.get(fold.condition), Expr::Literal(Literal::Bool(false)))
    }

    // === what is known of parts ===

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| *local.name == *name)
    }

    fn push(&mut self, name: &Arc<str>, path: Path, size: Option<CostRange>, entries: Option<Entries>) {
        self.locals.push(Local { name: name.clone(), path, size, entries });
    }

    fn path(&self, id: Id) -> Path {
        if let Expr::Ident(name) = self.checked.ast.get(id)
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&id).cloned().unwrap_or_default()
    }

    fn declared(&self, path: &[PathPart]) -> Option<CostRange> {
        match path.first() {
            Some(PathPart::Name(name)) if &**name != ACCU => self.sizes.size(path),
            _ => None,
        }
    }

    fn size(&mut self, id: Id) -> Option<CostRange> {
        if let Some(size) = self.computed.get(&id) {
            return Some(*size);
        }
        let size = match self.checked.ast.get(id) {
            Expr::Literal(Literal::String(text)) => Some(chars(text)),
            Expr::Literal(Literal::Bytes(bytes)) => Some(bytes.len()),
            Expr::Literal(_) => Some(1),
            Expr::List(elements) => Some(elements.len()),
            Expr::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(size) = size {
            return Some(CostRange::fixed(size as u64));
        }
        let path = self.path(id);
        if let Some(size) = self.declared(&path) {
            self.computed.insert(id, size);
            return Some(size);
        }
        if self.checked.ty(id).is_scalar() {
            return Some(ONE);
        }
        match self.checked.ast.get(id) {
            Expr::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, id: Id) -> CostRange {
        self.size(id).unwrap_or(CostRange::UNKNOWN)
    }

    fn entry(&self, id: Id) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&id) {
            return Some(*entries);
        }
        match self.checked.ast.get(id) {
            Expr::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }

    // === calls ===

    fn call(&mut self, id: Id, target: Option<Id>, function: &str, args: &[Id]) -> CostRange {
        if function == "dyn" && target.is_none() && args.len() == 1 {
            let cost = self.cost(args[0]);
            if let Some(size) = self.size(args[0]) {
                self.computed.insert(id, size);
            }
            if let Some(entries) = self.entry(args[0]) {
                self.entries.insert(id, entries);
            }
            return cost.plus(ONE);
        }
        let costs: Vec<CostRange> = args.iter().map(|arg| self.cost(*arg)).collect();
        let sum = costs.iter().fold(ZERO, |sum, cost| sum.plus(*cost));
        let overloads: Vec<&str> = match function {
            operators::OPT_SELECT => vec!["select_optional_field"],
            _ => self.checked.overloads(id).iter().map(|overload| overload.id).collect(),
        };
        if overloads.is_empty() {
            return ZERO;
        }
        let target_cost = target.map_or(ZERO, |target| self.cost(target));
        let mut cost = CostRange::new(u64::MAX, 0);
        let mut size: Option<CostRange> = None;
        for overload in overloads {
            let estimate = match overload {
                "logical_and" | "logical_or" => {
                    Estimate::cost(CostRange::new(costs[0].min, costs[0].plus(costs[1]).max))
                }
                "conditional" => {
                    if let (Some(then), Some(otherwise)) = (self.entry(args[1]), self.entry(args[2])) {
                        self.entries.insert(id, then.union(otherwise));
                    }
                    let either = self.size_or_unknown(args[1]).union(self.size_or_unknown(args[2]));
                    Estimate::sized(costs[0].plus(costs[1].union(costs[2])), either)
                }
                _ => {
                    let mut estimate = self
                        .kubernetes(function, overload, target, args)
                        .unwrap_or_else(|| self.standard(id, overload, target, args));
                    estimate.cost = estimate.cost.plus(sum);
                    estimate
                }
            };
            cost = cost.union(estimate.cost);
            if let Some(found) = estimate.size {
                size = Some(size.map_or(found, |size| size.union(found)));
            }
            if let ("index_list" | "index_map", Some(operand)) = (overload, args.first()) {
                size = self.entry(*operand).map(|entries| entries.value);
                let mut path = self.path(*operand);
                path.push(if overload == "index_list" { PathPart::Items } else { PathPart::Values });
                self.paths.insert(id, path);
            }
            if size.is_none() {
                size = self.size(id);
            }
        }
        if let Some(size) = size {
            self.computed.insert(id, size);
        }
        target_cost.plus(cost)
    }

    fn standard(&mut self, id: Id, overload: &str, target: Option<Id>, args: &[Id]) -> Estimate {
        match (overload, target, args) {
            ("string_format", Some(target), _) => Estimate::cost(self.size_or_unknown(target).scaled(TRAVERSAL)),
            ("string_to_bytes", _, [arg]) => {
                let size = self.size_or_unknown(*arg);
                Estimate::sized(size.scaled(TRAVERSAL), CostRange::new(size.min, size.max.wrapping_mul(4)))
            }
            ("bytes_to_string", _, [arg]) => {
                let size = self.size_or_unknown(*arg);
                Estimate::sized(size.scaled(TRAVERSAL), CostRange::new(size.min / 4, size.max))
            }
            ("strings_quote", _, [arg]) => {
                let size = self.size_or_unknown(*arg);
                let quoted = CostRange::new(size.min.wrapping_add(2), size.max.wrapping_mul(2).wrapping_add(2));
                Estimate::sized(size.scaled(TRAVERSAL), quoted)
            }
            ("starts_with_string" | "ends_with_string", _, [arg]) => {
                Estimate::cost(self.size_or_unknown(*arg).scaled(TRAVERSAL))
            }
            ("in_list", _, [_, list]) => Estimate::cost(self.size_or_unknown(*list).scaled(1.0)),
            ("matches_string", Some(target), [pattern]) => Estimate::cost(self.regex(target, *pattern)),
            ("contains_string", Some(target), [part]) => {
                let text = self.size_or_unknown(target).scaled(TRAVERSAL);
                Estimate::cost(text.times(self.size_or_unknown(*part).scaled(TRAVERSAL)))
            }
            ("add_string" | "add_bytes" | "add_list", _, [left, right]) => {
                let size = self.size_or_unknown(*left).plus(self.size_or_unknown(*right));
                if let (Some(left), Some(right)) = (self.entry(*left), self.entry(*right)) {
                    self.entries.insert(id, left.union(right));
                }
                let cost = if overload == "add_list" { ONE } else { size.scaled(TRAVERSAL) };
                Estimate::sized(cost, size)
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                _,
                [left, right],
            ) => {
                let max = self.size_or_unknown(*left).max.min(self.size_or_unknown(*right).max);
                Estimate::cost(CostRange::new(u64::from(max > 0), max).scaled(TRAVERSAL))
            }
            _ => self.lists(overload, target, args).unwrap_or(Estimate::cost(ONE)),
        }
    }

    fn regex(&mut self, text: Id, pattern: Id) -> CostRange {
        let text = self.size_or_unknown(text).plus(ONE).scaled(TRAVERSAL);
        text.times(self.size_or_unknown(pattern).scaled(REGEX))
    }

    /// Libraries that bring their own estimates: sets and lists.
    fn lists(&mut self, overload: &str, target: Option<Id>, args: &[Id]) -> Option<Estimate> {
        let allocating = |factor: f64, size: CostRange| Estimate::sized(size.scaled(factor).plus(ONE).plus(LIST), size);
        Some(match (overload, target, args) {
            ("list_slice", Some(target), [start, end]) => {
                let size = self.size_or_unknown(target);
                let (start, end) = (self.int(*start, 0), self.int(*end, size.max));
                allocating(1.0, CostRange::fixed(end.wrapping_sub(start)))
            }
            ("lists_range", _, [count]) => allocating(1.0, CostRange::fixed(self.int(*count, u64::MAX))),
            ("list_reverse", Some(target), _) => allocating(1.0, self.size_or_unknown(target)),
            ("list_flatten" | "list_flatten_int", Some(target), args) => {
                let depth = args.first().map_or(1, |depth| self.int(*depth, u64::MAX));
                let size = self.size_or_unknown(target);
                #[expect(clippy::cast_precision_loss, reason = "upstream computes costs in doubles")]
                allocating(depth as f64, size)
            }
            ("list_distinct", Some(target), _) => {
                let size = self.size_or_unknown(target);
                allocating(2.0, size.times(size))
            }
            (sort, Some(target), args) if sort.ends_with("_sort") || sort.ends_with("_sortByAssociatedKeys") => {
                let text = sort.starts_with("list_string") || sort.starts_with("list_bytes");
                let size = self.size_or_unknown(args.first().copied().unwrap_or(target));
                allocating(if text { 2.0 + TRAVERSAL } else { 2.0 }, size.times(size))
            }
            (sets, _, [left, right]) if sets.starts_with("list_sets_") => {
                let factor = if sets == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
                let size = self.size_or_unknown(*left).times(self.size_or_unknown(*right));
                Estimate::cost(size.scaled(factor).plus(ONE))
            }
            _ => return None,
        })
    }

    /// A constant whole number.
    fn int(&self, id: Id, otherwise: u64) -> u64 {
        match self.checked.ast.get(id) {
            Expr::Literal(Literal::Int(value)) => u64::try_from(*value).unwrap_or(0),
            _ => otherwise,
        }
    }

    /// The element type of a list and how large its elements can be.
    fn elements(&mut self, list: Id) -> Option<(Type, CostRange)> {
        let ty = match self.checked.ty(list) {
            Type::List(element) => (**element).clone(),
            _ => return None,
        };
        let mut path = self.path(list);
        let size = if path.is_empty() {
            None
        } else {
            path.push(PathPart::Items);
            self.declared(&path)
        };
        Some((ty, size.unwrap_or(CostRange::UNKNOWN)))
    }

    fn kubernetes(&mut self, function: &str, overload: &str, target: Option<Id>, args: &[Id]) -> Option<Estimate> {
        let of_lists = self.lists(overload, target, args);
        if of_lists.is_some() {
            return of_lists;
        }
        Some(match (function, target, args) {
            ("check", ..) => Estimate::cost(CostRange::fixed(350_000)),
            (
                "serviceAccount"
                | "path"
                | "group"
                | "resource"
                | "subresource"
                | "namespace"
                | "name"
                | "allowed"
                | "reason"
                | "error"
                | "errored"
                | "format.named"
                | "masked"
                | "prefixLength"
                | "family"
                | "isUnspecified"
                | "isLoopback"
                | "isLinkLocalMulticast"
                | "isLinkLocalUnicast"
                | "isGlobalUnicast"
                | "sign"
                | "asInteger"
                | "isInteger"
                | "asApproximateFloat"
                | "isGreaterThan"
                | "isLessThan"
                | "compareTo"
                | "add"
                | "sub"
                | "major"
                | "minor"
                | "patch"
                | "getScheme"
                | "getHostname"
                | "getHost"
                | "getPort"
                | "getEscapedPath"
                | "getQuery",
                ..,
            ) => Estimate::cost(ONE),
            ("fieldSelector" | "labelSelector", _, [selector]) => {
                let length = self.size_or_unknown(*selector);
                let requirements = length.scaled(0.5).scaled(50.0);
                Estimate::cost(LIST.plus(length.scaled(TRAVERSAL)).plus(requirements))
            }
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                let size = self.size_or_unknown(target);
                match self.elements(target) {
                    Some((ty, element)) => {
                        let each = match ty {
                            Type::String | Type::Bytes => ONE.plus(element.scaled(TRAVERSAL)),
                            _ => ONE,
                        };
                        Estimate::cost(size.times(each))
                    }
                    None => Estimate::cost(size.scaled(TRAVERSAL)),
                }
            }
            ("url" | "jsonpatch.escapeKey", _, [arg]) => self.transform(*arg),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => self.transform(target),
            ("replace", Some(target), [from, to, ..]) => self.replace(target, *from, *to),
            ("split", Some(target), args) => {
                let size = self.size_or_unknown(target);
                let limit = match args.get(1).map(|limit| self.checked.ast.get(*limit)) {
                    Some(Expr::Literal(Literal::Int(limit))) => Some(*limit),
                    _ => None,
                };
                #[expect(clippy::cast_sign_loss, reason = "upstream takes a negative limit as a huge one")]
                let max = limit.map_or(size.max, |limit| limit as u64);
                Estimate::sized(size.scaled(2.0 * TRAVERSAL), CostRange::new(0, max))
            }
            ("join", Some(target), args) => self.join(target, args.first().copied()),
            ("find" | "findAll", Some(target), [pattern, ..]) => {
                let max = self.size_or_unknown(target).max;
                Estimate::sized(self.regex(target, *pattern), CostRange::new(0, max))
            }
            ("ip", ..) if overload == "cidr_ip" => Estimate::cost(ONE),
            ("cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver", _, [arg, ..]) => {
                Estimate::cost(self.size_or_unknown(*arg).scaled(TRAVERSAL))
            }
            ("ip.isCanonical", _, [arg]) => Estimate::cost(self.size_or_unknown(*arg).scaled(2.0 * TRAVERSAL)),
            ("containsIP" | "containsCIDR", _, [arg, ..]) => {
                let address = CostRange::new(4, 16);
                let mut cost = address.plus(address).scaled(TRAVERSAL);
                if function == "containsCIDR" {
                    cost = cost.plus(address.scaled(TRAVERSAL)).plus(ONE);
                }
                if overload.ends_with("_string") {
                    cost = cost.plus(self.size_or_unknown(*arg).scaled(TRAVERSAL));
                }
                Estimate::cost(cost)
            }
            ("validate", _, [arg]) => {
                let text = self.size_or_unknown(*arg).scaled(TRAVERSAL);
                #[expect(clippy::cast_precision_loss, reason = "a small constant")]
                Estimate::cost(text.scaled(FORMAT_REGEX as f64 * REGEX))
            }
            (operators::EQUALS, _, [left, right]) => return self.opaque_equality(*left, *right),
            _ => return None,
        })
    }

    fn transform(&mut self, text: Id) -> Estimate {
        let size = self.size_or_unknown(text);
        Estimate::sized(size.scaled(TRAVERSAL), size)
    }

    fn replace(&mut self, target: Id, from: Id, to: Id) -> Estimate {
        let size = self.size_or_unknown(target);
        let (from, to) = (self.size_or_unknown(from), self.size_or_unknown(to));
        let (mut count, mut kept) = (ZERO, ZERO);
        if from.min == 0 {
            count.max = size.max.saturating_add(1);
            kept.max = size.max;
        } else if to.max <= from.min {
            kept.max = size.max;
        } else {
            count.max = divided(size.max, from.min);
        }
        if from.max == 0 {
            count.min = size.min.saturating_add(1);
            kept.min = size.min;
        } else if from.max <= to.min {
            kept.min = size.min;
        } else {
            count.min = divided(size.min, from.max);
        }
        Estimate::sized(size.scaled(2.0 * TRAVERSAL), count.times(to).plus(kept))
    }

    fn join(&mut self, list: Id, separator: Option<Id>) -> Estimate {
        let count = self.size_or_unknown(list);
        let mut size = ZERO;
        if let Some((_, element)) = self.elements(list) {
            size = count.times(element);
        }
        if let Some(separator) = separator {
            let between = CostRange::new(count.min.saturating_sub(1), count.max.saturating_sub(1));
            size = size.plus(self.size_or_unknown(separator).times(between));
        }
        Estimate::sized(size.scaled(TRAVERSAL), size)
    }

    fn opaque_equality(&mut self, left: Id, right: Id) -> Option<Estimate> {
        let ty = self.checked.ty(left);
        if ty != self.checked.ty(right) {
            return None;
        }
        match ty {
            Type::Opaque(name, _) if matches!(&**name, "net.IP" | "net.CIDR") => Some(Estimate::cost(ONE)),
            Type::Struct(object) => match object.name.as_str() {
                "kubernetes.NamedFormat" => Some(Estimate::cost(CostRange::new(1, 64).scaled(TRAVERSAL))),
                "kubernetes.URL" => {
                    let max = self.size(right).map_or(1, |size| size.max);
                    Some(Estimate::cost(CostRange::new(1, max).scaled(TRAVERSAL)))
                }
                "kubernetes.Quantity" | "kubernetes.Semver" => Some(Estimate::cost(ONE)),
                name if name.starts_with("kubernetes.authorization.") => Some(Estimate::cost(ONE)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "upstream computes costs in doubles, and casts of doubles saturate"
)]
fn divided(a: u64, b: u64) -> u64 {
    (a as f64 / b as f64).ceil() as u64
}
