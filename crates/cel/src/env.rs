//! What an expression may mention: variables with types, and the functions of a version.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/cel/environment`.

use std::sync::Arc;

use crate::{
    check,
    error::CompileError,
    eval::Program,
    library, syntax,
    types::{Type, TypeProvider},
};

/// Minor version whose functions new expressions may use: the one before this one, so that a roll-back finds them.
const COMPATIBILITY: u32 = 35;
/// Expressions that are stored already may use whatever any version had.
const STORED: u32 = u32::MAX;

/// Which functions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is written now: the functions of the compatibility version.
    NewExpressions,
    /// What was stored before, perhaps by a newer version.
    StoredExpressions,
    /// A minor version of Kubernetes.
    Minor(u32),
}

/// An environment; made once, it compiles many expressions.
#[derive(Clone)]
pub struct Env {
    version: u32,
    variables: Vec<(String, Type)>,
    provider: Option<Arc<dyn TypeProvider>>,
}

impl Env {
    pub fn new(mode: Mode) -> Self {
        let version = match mode {
            Mode::NewExpressions => COMPATIBILITY,
            Mode::StoredExpressions => STORED,
            Mode::Minor(minor) => minor,
        };
        Self { version, variables: Vec::new(), provider: None }
    }

    /// Declares a variable; a later declaration of the same name replaces it.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, ty: Type) -> Self {
        let name = name.into();
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, ty));
        self
    }

    /// Adds types that expressions may construct.
    #[must_use]
    pub fn with_types(mut self, provider: Arc<dyn TypeProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Parses, checks and plans an expression.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let ast = syntax::parse(source)?;
        let checked = check::check(ast, source, self)?;
        Program::plan(checked, source)
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, ty)| ty)
    }

    pub(crate) fn type_named(&self, name: &str) -> Option<Type> {
        library::type_named(name).or_else(|| self.provider.as_ref()?.find(name))
    }

    /// A field that the type itself does not list.
    pub(crate) fn field(&self, ty: &Type, name: &str) -> Option<Type> {
        let Type::Struct(object) = ty else { return None };
        self.provider.as_ref()?.find(&object.name).and_then(|ty| match ty {
            Type::Struct(found) => found.fields.get(name).cloned(),
            _ => None,
        })
    }
}
