//! Fields that somebody else has. Upstream: `managedfields/internal/conflict.go`, `merge/conflict.go`.

use std::fmt;

use apimachinery::{ApiError, field::go_quote, status::Cause};

use crate::{
    element::{PathElement, path_text},
    managed::{ManagerId, OperationType},
    set::Set,
};

/// Who has what of that which is to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts(pub Vec<(ManagerId, Vec<PathElement>)>);

impl Conflicts {
    pub(crate) fn add(&mut self, manager: &ManagerId, set: &Set) {
        set.for_each(&mut |path| self.0.push((manager.clone(), path.to_vec())));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All fields in question.
    pub fn to_set(&self) -> Set {
        let mut set = Set::new();
        for (_, path) in &self.0 {
            set.insert(path);
        }
        set
    }

    /// Those whose field is not in the set.
    #[must_use]
    pub fn without(&self, set: &Set) -> Self {
        Self(self.0.iter().filter(|(_, path)| !set.has(path)).cloned().collect())
    }

    /// 409 with a cause for each field.
    pub fn to_error(&self) -> ApiError {
        let cause = |(manager, path): &(ManagerId, Vec<PathElement>)| Cause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", described(manager)),
            field: path_text(path),
        };
        ApiError::apply_conflict(self.to_string(), self.0.iter().map(cause).collect())
    }
}

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(manager, path)] = self.0.as_slice() {
            return write!(
                f,
                "Apply failed with 1 conflict: conflict with {}: {}",
                described(manager),
                path_text(path)
            );
        }
        let mut managers: Vec<(&ManagerId, Vec<String>)> = Vec::new();
        for (manager, path) in &self.0 {
            match managers.iter_mut().find(|(known, _)| *known == manager) {
                Some((_, paths)) => paths.push(path_text(path)),
                None => managers.push((manager, vec![path_text(path)])),
            }
        }
        managers.sort_by_key(|(manager, _)| *manager);
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut lines = Vec::new();
        for (manager, paths) in managers {
            lines.push(format!("conflicts with {}:", described(manager)));
            lines.extend(paths.iter().map(|path| format!("- {path}")));
        }
        f.write_str(&lines.join("\n"))
    }
}

/// `"kubectl" with subresource "status" using apps/v1`.
fn described(manager: &ManagerId) -> String {
    let mut text = go_quote(&manager.manager);
    if !manager.subresource.is_empty() {
        text.push_str(&format!(" with subresource {}", go_quote(&manager.subresource)));
    }
    if manager.operation == OperationType::Update {
        text.push_str(&format!(" using {}", manager.api_version));
    }
    text
}
