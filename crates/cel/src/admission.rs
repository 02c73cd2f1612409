//! The variables of admission expressions (match conditions, admission policies) and their types.
//!
//! Upstream: `k8s.io/apiserver/pkg/admission/plugin/cel/compile.go`, `cel/mutation`.

use std::sync::{Arc, LazyLock};

use crate::{
    env::{Env, Mode},
    eval::Program,
    schema::{DeclType, FieldDecl, ListKind, ObjectDecl},
    types::{StructType, Type, TypeProvider},
};

/// Which of the optional variables there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    pub params: bool,
    pub authorizer: bool,
    /// `Object{…}` and `JSONPatch{…}` can be constructed.
    pub patches: bool,
}

/// Name of the type of `variables`.
pub const VARIABLES: &str = "kubernetes.variables";

/// The environment without `variables`; [`Variables`] adds those.
pub fn environment(declarations: Declarations, mode: Mode) -> Env {
    let mut env = Env::new(mode)
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("namespaceObject", NAMESPACE.ty.clone())
        .with("request", REQUEST.ty.clone());
    if declarations.params {
        env = env.with("params", Type::Dyn);
    }
    if declarations.authorizer {
        env = env
            .with("authorizer", Type::named("kubernetes.authorization.Authorizer"))
            .with("authorizer.requestResource", Type::named("kubernetes.authorization.ResourceCheck"));
    }
    if declarations.patches {
        env = env.with_types(Arc::new(Patches));
    }
    env
}

/// `Object`, `Object.spec.x` and `JSONPatch`. Upstream: `DynamicTypeResolver`.
struct Patches;

impl TypeProvider for Patches {
    fn find(&self, name: &str) -> Option<Type> {
        if name == "JSONPatch" {
            return Some(json_patch());
        }
        (name == "Object" || name.starts_with("Object.")).then(|| object(name))
    }
}

/// Any field is allowed and dynamic.
pub fn object(name: &str) -> Type {
    Type::Struct(Arc::new(StructType { name: name.to_owned(), open: true, ..StructType::default() }))
}

/// The type `JSONPatch`.
pub fn json_patch() -> Type {
    Type::object(
        "JSONPatch",
        [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)],
    )
}

fn text() -> DeclType {
    DeclType::any_string()
}

fn texts() -> DeclType {
    DeclType::list(text(), ListKind::Atomic, None)
}

fn described<const N: usize>(name: &str, fields: [(&str, DeclType); N]) -> DeclType {
    let fields = fields.into_iter().map(|(name, ty)| FieldDecl {
        name: if name == "UID" { "uid" } else { name }.to_owned(),
        escaped: name.to_owned(),
        ty,
    });
    DeclType::object(ObjectDecl::new(name, fields.collect()), 2)
}

/// Type of `request`.
pub static REQUEST: LazyLock<DeclType> = LazyLock::new(|| {
    let kind = || described("kubernetes.GroupVersionKind", [("group", text()), ("version", text()), ("kind", text())]);
    let resource =
        || described("kubernetes.GroupVersionResource", [("group", text()), ("version", text()), ("resource", text())]);
    let user = described(
        "kubernetes.UserInfo",
        [("username", text()), ("uid", text()), ("groups", texts()), ("extra", DeclType::map(texts(), None))],
    );
    described(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", DeclType::bool()),
            ("options", DeclType::dynamic()),
        ],
    )
});

/// Type of `namespaceObject`: what of a Namespace expressions may see.
pub static NAMESPACE: LazyLock<DeclType> = LazyLock::new(|| {
    let labels = || DeclType::map(text(), None);
    let metadata = described(
        "kubernetes.NamespaceMetadata",
        [
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", labels()),
            ("annotations", labels()),
            ("UID", text()),
            ("creationTimestamp", DeclType::timestamp()),
            ("deletionGracePeriodSeconds", DeclType::int()),
            ("deletionTimestamp", DeclType::timestamp()),
            ("generation", DeclType::int()),
            ("resourceVersion", text()),
            ("finalizers", texts()),
        ],
    );
    let condition = described(
        "kubernetes.NamespaceCondition",
        [
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", DeclType::timestamp()),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let status = described(
        "kubernetes.NamespaceStatus",
        [("conditions", DeclType::list(condition, ListKind::Atomic, None)), ("phase", text())],
    );
    let spec = described("kubernetes.NamespaceSpec", [("finalizers", texts())]);
    described("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
});

/// Types that a variable keeps; everything else is dynamic. Upstream: `convertCelTypeToDeclType`.
pub fn kept(ty: &Type) -> Type {
    match ty {
        Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => ty.clone(),
        Type::List(element) => Type::list(kept(element)),
        Type::Map(entry) => Type::map(kept(&entry.0), kept(&entry.1)),
        _ => Type::Dyn,
    }
}

/// The type of `variables` as it grows: each one sees those before it.
#[derive(Clone, Debug, Default)]
pub struct Variables(Vec<(String, Type)>);

impl Variables {
    /// `ty`: none for a variable that does not compile.
    pub fn push(&mut self, name: impl Into<String>, ty: Option<&Type>) {
        self.0.push((name.into(), ty.map_or(Type::Dyn, kept)));
    }

    /// The environment with those variables that there are by now.
    pub fn declare(&self, env: Env) -> Env {
        env.with("variables", Type::object(VARIABLES, self.0.clone()))
    }
}

/// Compiles an expression whose value has to be exactly of one of some types (none: of any), or says what is wrong in the
/// words of API errors.
pub fn compile(env: &Env, text: &str, returns: &[Type]) -> Result<Program, String> {
    let program = env.compile(text).map_err(|error| error.detail())?;
    let output = program.output_type();
    if returns.is_empty() || returns.contains(output) {
        return Ok(program);
    }
    let wanted = match returns {
        [only] => only.to_string(),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("one of [{}]", names.join(" "))
        }
    };
    Err(format!("must evaluate to {wanted} but got {output}"))
}
