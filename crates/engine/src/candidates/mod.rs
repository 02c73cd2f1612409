//! Embedded engines of others, to be measured against the log. Only what the measurement needs.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::{EngineError, Mutation, Record, Revision, Template};

pub mod with_fjall;
pub mod with_redb;

fn other(error: impl std::fmt::Display) -> EngineError {
    EngineError::Other { detail: error.to_string() }
}

fn key(mutation: &Mutation) -> Vec<u8> {
    [mutation.resource().as_bytes(), b"\0", mutation.path().as_bytes()].concat()
}

fn value(template: &Template, created: Revision, modified: Revision) -> Vec<u8> {
    let mut out = Vec::with_capacity(20 + template.len());
    out.extend_from_slice(&created.0.to_le_bytes());
    out.extend_from_slice(&modified.0.to_le_bytes());
    out.extend_from_slice(&(template.head.len() as u32).to_le_bytes());
    out.extend_from_slice(&template.head);
    out.extend_from_slice(&template.tail);
    out
}

fn record(key: &[u8], value: &[u8]) -> Option<Record> {
    let (resource, path) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    let mut value = Bytes::copy_from_slice(value);
    let created = Revision(value.try_get_u64_le().ok()?);
    let modified = Revision(value.try_get_u64_le().ok()?);
    let head = value.try_get_u32_le().ok()? as usize;
    let value = Template::split(value, head);
    Some(Record { resource: Arc::from(resource), path: Arc::from(path), value, created, modified })
}
