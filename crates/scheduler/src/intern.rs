//! Small numbers for strings that occur again and again.

use std::{collections::HashMap, hash::Hash};

/// Gives equal values equal numbers, counted from zero; values are never forgotten.
#[derive(Debug, Clone)]
pub(crate) struct Interner<T> {
    ids: HashMap<T, usize>,
    values: Vec<T>,
}

impl<T: Clone + Eq + Hash> Interner<T> {
    pub(crate) fn id(&mut self, value: &T) -> usize {
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        let id = self.values.len();
        self.ids.insert(value.clone(), id);
        self.values.push(value.clone());
        id
    }

    pub(crate) fn get(&self, value: &T) -> Option<usize> {
        self.ids.get(value).copied()
    }

    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { ids: HashMap::new(), values: Vec::new() }
    }
}
