//! Reading optional fields the way the Go types do: absent and empty are the same.
//!
//! k8s-openapi keeps `Option` where upstream's structs have plain values; validation and defaulting are written
//! against the plain values. Nothing here knows a kind.

/// The text of an optional string, empty when absent.
pub(crate) trait Text {
    fn text(&self) -> &str;
}

impl Text for Option<String> {
    fn text(&self) -> &str {
        self.as_deref().unwrap_or("")
    }
}

/// The elements of an optional list, none when absent.
pub(crate) trait Items<T> {
    fn items(&self) -> &[T];
    fn items_mut(&mut self) -> &mut [T];
}

impl<T> Items<T> for Option<Vec<T>> {
    fn items(&self) -> &[T] {
        self.as_deref().unwrap_or(&[])
    }

    fn items_mut(&mut self) -> &mut [T] {
        self.as_deref_mut().unwrap_or(&mut [])
    }
}

/// A flag, false when absent.
pub(crate) trait Flag {
    fn is_set(&self) -> bool;
}

impl Flag for Option<bool> {
    fn is_set(&self) -> bool {
        self.unwrap_or(false)
    }
}

/// Sets `field` to `value` when it is absent or empty.
pub(crate) fn default_text(field: &mut Option<String>, value: &str) {
    if field.text().is_empty() {
        *field = Some(value.to_owned());
    }
}

/// Sets `field` to `value` when it is absent or zero: integers that upstream keeps by value.
pub(crate) fn default_nonzero(field: &mut Option<i32>, value: i32) {
    if field.unwrap_or(0) == 0 {
        *field = Some(value);
    }
}
