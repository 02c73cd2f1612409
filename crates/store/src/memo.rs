//! Encodings and decoded views made on first demand and shared by everybody who asks later.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// Which of the encodings. The user of the store numbers them; what one number means is the same for all objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

/// Costs a few words until something is kept in it.
#[derive(Default)]
pub(crate) struct Memo {
    encodings: OnceLock<Box<[OnceLock<Bytes>; Slot::COUNT]>>,
    view: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// What the resource's index says of it.
    pub(crate) index: OnceLock<Box<str>>,
}

// === impl Slot ===

impl Slot {
    pub const COUNT: usize = 8;

    /// `None` when there is no such slot.
    #[must_use]
    pub const fn new(number: u8) -> Option<Slot> {
        if (number as usize) < Slot::COUNT { Some(Slot(number)) } else { None }
    }
}

// === impl Memo ===

impl Memo {
    /// Two callers at the same time may both encode; both get the bytes of the first.
    pub(crate) fn encoding<E>(&self, slot: Slot, encode: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        let cell = &self.encodings.get_or_init(Box::default)[usize::from(slot.0)];
        if let Some(bytes) = cell.get() {
            return Ok(bytes.clone());
        }
        let bytes = encode()?;
        Ok(cell.get_or_init(|| bytes).clone())
    }

    pub(crate) fn encoded(&self, slot: Slot) -> Option<Bytes> {
        self.encodings.get()?[usize::from(slot.0)].get().cloned()
    }

    /// A view of another type than the one kept is made anew and not kept.
    pub(crate) fn view<T: Send + Sync + 'static, E>(&self, decode: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        if let Some(view) = self.view.get()
            && let Ok(view) = Arc::clone(view).downcast::<T>()
        {
            return Ok(view);
        }
        let view = Arc::new(decode()?);
        let kept = self.view.get_or_init(|| Arc::clone(&view) as Arc<dyn Any + Send + Sync>);
        Ok(Arc::clone(kept).downcast::<T>().unwrap_or(view))
    }
}
