//! Which encoding the store keeps in which place. Entries and events have places of their own.

use store::Slot;

/// `Slot::new`, for the constants below.
const fn slot(number: u8) -> Slot {
    match Slot::new(number) {
        Some(slot) => slot,
        None => panic!("no such slot"),
    }
}

/// Of an entry: the object in its protobuf envelope. Of an event: the protobuf watch frame.
pub(crate) const PROTOBUF: Slot = slot(0);
/// Of an event: the JSON watch frame.
pub(crate) const JSON: Slot = slot(1);
/// Of an event: the JSON watch frame with bare metadata.
pub(crate) const METADATA: Slot = slot(2);
/// Of an entry: the object's CBOR document. Of an event: the CBOR watch frame.
pub(crate) const CBOR: Slot = slot(3);
/// Of an event: the protobuf and the CBOR watch frame with bare metadata.
pub(crate) const METADATA_PROTOBUF: Slot = slot(4);
pub(crate) const METADATA_CBOR: Slot = slot(5);
