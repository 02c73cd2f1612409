//! A kind described by data alone: served, stored, defaulted and validated by metadata and schema only.
//!
//! For GA kinds whose own logic is still to be written, and the ground custom resources stand on.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Durability, DynamicObject, Info, NameRule, PrintCx, RequestCx, Resource, SelectableField, Subresource, UpdateKind,
    columns::Column, object::AnyObject, resource::ColumnHeader,
};

/// One data-driven kind.
#[derive(Clone, Copy)]
pub struct Plain {
    pub info: Info,
    pub subresources: &'static [Subresource],
    pub selectable: &'static [SelectableField],
    pub columns: &'static [Column<DynamicObject>],
    pub name_rule: NameRule,
    pub durability: Durability,
    /// Whether `metadata.generation` counts changes of anything but metadata and status.
    pub generation: bool,
}

impl Plain {
    pub const fn new(info: Info) -> Self {
        Self {
            info,
            subresources: &[],
            selectable: &[],
            columns: &[],
            name_rule: NameRule::DnsSubdomain,
            durability: Durability::Synced,
            generation: false,
        }
    }

    /// Serves `/status`, and drops the status on writes to the object itself.
    pub const fn with_status(mut self) -> Self {
        self.subresources = &[Subresource::STATUS];
        self
    }

    pub const fn with_generation(mut self) -> Self {
        self.generation = true;
        self
    }

    pub const fn subresources(mut self, subresources: &'static [Subresource]) -> Self {
        self.subresources = subresources;
        self
    }

    pub const fn selectable(mut self, selectable: &'static [SelectableField]) -> Self {
        self.selectable = selectable;
        self
    }

    pub const fn columns(mut self, columns: &'static [Column<DynamicObject>]) -> Self {
        self.columns = columns;
        self
    }

    pub const fn name_rule(mut self, name_rule: NameRule) -> Self {
        self.name_rule = name_rule;
        self
    }

    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    fn has_status(&self) -> bool {
        self.subresources.iter().any(|subresource| subresource.name == "status")
    }
}

impl Resource for Plain {
    fn info(&self) -> &Info {
        &self.info
    }

    fn subresources(&self) -> &[Subresource] {
        self.subresources
    }

    fn selectable(&self) -> &[SelectableField] {
        self.selectable
    }

    fn name_rule(&self) -> NameRule {
        self.name_rule
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn decode(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, serde_json::Error> {
        let mut object: DynamicObject = apimachinery::json::from_bytes(json)?;
        object.api_version = self.info.api_version();
        object.kind = self.info.kind.to_owned();
        Ok(Box::new(object))
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut dyn AnyObject) {
        let Some(object) = object.downcast_mut::<DynamicObject>() else { return };
        if self.has_status() {
            object.fields.remove("status");
        }
        object.metadata.generation = self.generation.then_some(1);
    }

    fn prepare_for_update(&self, kind: UpdateKind<'_>, _cx: &RequestCx, new: &mut dyn AnyObject, old: &dyn AnyObject) {
        let (Some(new), Some(old)) = (new.downcast_mut::<DynamicObject>(), old.downcast_ref::<DynamicObject>()) else {
            return;
        };
        match kind {
            UpdateKind::Status => {
                let status = new.fields.remove("status");
                let resource_version = new.metadata.resource_version.take();
                *new = old.clone();
                new.metadata.resource_version = resource_version;
                match status {
                    Some(status) => new.fields.insert("status".to_owned(), status),
                    None => new.fields.remove("status"),
                };
            }
            UpdateKind::Object | UpdateKind::Subresource(_) => {
                if self.has_status() {
                    match old.fields.get("status") {
                        Some(status) => new.fields.insert("status".to_owned(), status.clone()),
                        None => new.fields.remove("status"),
                    };
                }
                if self.generation {
                    let generation = old.metadata.generation.unwrap_or_default();
                    let changed = new.fields != old.fields;
                    new.metadata.generation = Some(if changed { generation + 1 } else { generation });
                }
            }
        }
    }

    fn columns(&self) -> Vec<ColumnHeader> {
        self.columns.iter().map(Column::header).collect()
    }

    fn cells(&self, object: &dyn AnyObject, now: Timestamp) -> Vec<Value> {
        let Some(object) = object.downcast_ref::<DynamicObject>() else { return Vec::new() };
        let cx = PrintCx { now };
        self.columns.iter().map(|column| (column.cell)(object, &cx)).collect()
    }
}
