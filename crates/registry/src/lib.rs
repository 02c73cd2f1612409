//! The one request pipeline: create, update, patch, delete, list and watch for every kind, built-in or custom.
//!
//! Invariants: registry knows no kind by name. The order of steps (authorise, decode, default, mutating admission,
//! prepare, validate, validating admission, store) is written once. Stored bytes are served as they are.
//! Upstream counterpart: `k8s.io/apiserver/pkg/registry/generic/registry` and `pkg/endpoints/handlers`.

mod action;
pub mod admission;
pub mod audit;
pub mod auth;
mod canonical;
mod columns;
mod convert;
mod custom;
mod dynamic;
mod info;
mod intern;
pub mod names;
mod object;
pub mod options;
mod ownership;
pub mod pipeline;
mod plain;
mod reader;
mod request;
mod resource;
mod status;
mod strategy;
mod strict;
pub mod wire;

pub use action::{Action, ActionCall, ActionOutcome};
pub use columns::{CREATED_DESCRIPTION, Column, NAME_DESCRIPTION, PrintCx, human_duration, since, until};
pub use convert::{Conversion, Converted};
pub use custom::{Custom, ReadBody};
pub use dynamic::DynamicObject;
pub use fieldmanager::Filter;
pub use info::{
    ALL_VERBS, BodyKind, Durability, GcPolicy, Handler, Info, NameRule, Scope, SelectableField, Subresource,
};
pub use intern::{intern, intern_all, intern_path};
pub use object::{AnyObject, Object, ObjectExt};
pub use pipeline::{Kind, Registry, RegistryBuilder, Written};
pub use plain::Plain;
pub use reader::{Nothing, ReadObjects, Reader};
pub use request::{MayCreate, RequestCx, UserInfo, Verb};
pub use resource::{ColumnHeader, Resource, ResourceHandle, UpdateKind};
pub use status::{keep_all_but_status, keep_metadata, reset_metadata};
pub use strategy::{Companion, CompanionChange, Reservation, Strategy};
