//! The expression as a tree in one arena: places, and after checking types and overloads, stand beside it by id.
//!
//! Upstream counterpart: `cel-go/common/ast`.

use std::sync::Arc;

/// Index of an expression in its [`Ast`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) u32);

#[derive(Debug)]
pub(crate) struct Ast {
    nodes: Vec<Expr>,
    /// Code point each node is shown at.
    offsets: Vec<u32>,
    pub(crate) root: Id,
}

#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Literal(Literal),
    Ident(Arc<str>),
    Select {
        operand: Id,
        field: Arc<str>,
        test_only: bool,
    },
    Call {
        target: Option<Id>,
        function: Arc<str>,
        args: Vec<Id>,
    },
    /// Elements, each optional (`[?a]`) or not.
    List(Vec<(Id, bool)>),
    Map(Vec<MapEntry>),
    Struct {
        name: Arc<str>,
        fields: Vec<StructField>,
    },
    Fold(Box<Fold>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

#[derive(Clone, Debug)]
pub(crate) struct MapEntry {
    pub(crate) key: Id,
    pub(crate) value: Id,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct StructField {
    pub(crate) offset: u32,
    pub(crate) name: Arc<str>,
    pub(crate) value: Id,
    pub(crate) optional: bool,
}

/// What macros over lists and maps become. Upstream: comprehension.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) range: Id,
    pub(crate) var: Arc<str>,
    pub(crate) var2: Option<Arc<str>>,
    pub(crate) accu: Arc<str>,
    pub(crate) init: Id,
    pub(crate) condition: Id,
    pub(crate) step: Id,
    pub(crate) result: Id,
}

impl Ast {
    /// All expressions, in no order.
    pub(crate) fn nodes(&self) -> &[Expr] {
        &self.nodes
    }

    pub(crate) fn new() -> Self {
        Self { nodes: Vec::new(), offsets: Vec::new(), root: Id(0) }
    }

    pub(crate) fn push(&mut self, offset: u32, expr: Expr) -> Id {
        let id = Id(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(expr);
        self.offsets.push(offset);
        id
    }

    pub(crate) fn get(&self, id: Id) -> &Expr {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn replace(&mut self, id: Id, expr: Expr) {
        self.nodes[id.0 as usize] = expr;
    }

    pub(crate) fn offset(&self, id: Id) -> u32 {
        self.offsets[id.0 as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}
