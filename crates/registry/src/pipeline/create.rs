//! Create. Upstream: `Store.create`, `rest.BeforeCreate`, `handlers.createHandler`.

use apimachinery::ApiError;
use bytes::Bytes;
use store::{Expect, StoreError};

use super::{Kind, Registry, Turn, Written, admission_request, decode::Body, metadata, store_error};
use crate::{
    RequestCx,
    admission::Operation,
    canonical,
    object::AnyObject,
    options::{RequestOptions, WriteOptions},
    ownership::Writer,
};

/// How often a generated name may turn out to be taken. Upstream: `maxNameGenerationCreateAttempts`.
const NAME_ATTEMPTS: usize = 8;

impl Registry {
    /// Creates an object from a JSON body in `cx.namespace`.
    pub async fn create(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<Written, ApiError> {
        cx.set_options(|| RequestOptions::Write(options.clone()));
        let mut body = self.decode(kind, cx, body, options.field_validation)?;
        metadata::drop_repeated_owners(body.object.metadata_mut(), cx, metadata::REPEATED_OWNERS);
        self.create_object(kind, cx, body, None).await
    }

    /// Creates an object that is decoded and defaulted. `owned` is the list of its fields' owners, where it is known.
    pub(super) async fn create_object(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        body: Body,
        owned: Option<Vec<u8>>,
    ) -> Result<Written, ApiError> {
        let info = kind.info();
        let Body { mut object, managed_fields: given } = body;
        if let Some(custom) = kind.resource.custom() {
            custom.check_create(object.name())?;
        }
        if object.metadata().resource_version.as_deref().is_some_and(|version| !version.is_empty() && version != "0") {
            let mut error = ApiError::internal("resourceVersion should not be set on objects to be created");
            "resourceVersion should not be set on objects to be created".clone_into(&mut error.message);
            error.reason.clear();
            error.details = None;
            return Err(error);
        }
        metadata::wipe_system_fields(object.metadata_mut());
        metadata::ensure_namespace(object.metadata_mut(), info, &cx.namespace)?;
        let mut owned = match owned {
            Some(owned) => owned,
            None => {
                let json = kind.served_json(&*object)?;
                self.owned_from_start(kind, Writer::of(cx), &json, &given).await
            }
        };
        let asked_name = object.name().to_owned();
        let mut request = admission_request(self, kind, cx, Operation::Create, &asked_name, Some(&mut *object), None);
        request.managed_fields = owned.into();
        self.admit(&mut request).await?;
        owned = request.managed_fields.into_owned();
        metadata::drop_repeated_owners(object.metadata_mut(), cx, metadata::REPEATED_OWNERS_AFTER_ADMISSION);
        // What plugins filled in may have defaults of its own.
        kind.resource.set_defaults(&mut *object);

        let generate_from = match object.metadata().generate_name.as_deref() {
            Some(base) if !base.is_empty() && object.name().is_empty() => Some(base.to_owned()),
            _ => None,
        };
        let pristine = generate_from.as_ref().map(|_| object.clone_box());
        let mut attempts = 0;
        loop {
            attempts += 1;
            if let Some(base) = &generate_from {
                object.metadata_mut().name = Some(kind.resource.generate_name(base));
            }
            match self.create_once(kind, cx, &mut *object, &owned).await {
                Err(error) if error.is("AlreadyExists") && pristine.is_some() => {
                    if attempts == NAME_ATTEMPTS {
                        return Err(generated_name_taken(&error));
                    }
                    if let Some(pristine) = &pristine {
                        object = pristine.clone_box();
                    }
                }
                other => return other,
            }
        }
    }

    async fn create_once(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        object: &mut dyn AnyObject,
        owned: &[u8],
    ) -> Result<Written, ApiError> {
        let turn = self.turn(kind).await?;
        let created = self.create_in_turn(kind, cx, object, owned, turn.as_ref()).await;
        if created.as_ref().map_or(true, |written| written.entry.is_none()) {
            self.give_back(turn.as_ref()).await;
        }
        created
    }

    async fn create_in_turn(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        object: &mut dyn AnyObject,
        owned: &[u8],
        turn: Option<&Turn>,
    ) -> Result<Written, ApiError> {
        let (resource, info) = (&kind.resource, kind.info());
        metadata::fill_system_fields(object.metadata_mut(), cx.now);
        let reservation = resource.reserve(cx, object, None)?;
        metadata::ensure_namespace(object.metadata_mut(), info, &cx.namespace)?;
        resource.prepare_for_create(cx, object);
        let mut errors = metadata::validate(object.metadata(), info, resource.name_rule(), resource.custom().is_some());
        errors.append(resource.validate(cx, object));
        let name = object.name().to_owned();
        if !errors.is_empty() {
            return Err(kind.invalid(&name, &errors));
        }
        for warning in resource.warnings(cx, object, None) {
            cx.warn(warning);
        }
        let mut request = admission_request(self, kind, cx, Operation::Create, &name, Some(object), None);
        request.managed_fields = owned.into();
        self.validate_admission(&request).await?;

        let (served, value) = kind.encoded(object, owned).await?;
        let key = kind.key(object.namespace(), &name)?;
        if cx.dry_run {
            return match kind.table.snapshot().get(&key) {
                Some(_) => Err(ApiError::already_exists(&kind.gvr, &name)),
                None => Ok(Written { bytes: canonical::unversioned(&served), entry: None, created: true }),
            };
        }
        match self.put(kind, key, Expect::Absent, value, turn).await {
            Ok(entry) => {
                if let Some(reservation) = reservation {
                    reservation.commit();
                }
                resource.after_create(cx, object);
                Ok(Written { bytes: kind.written(&entry, &served), entry: Some(entry), created: true })
            }
            Err(StoreError::Conflict { op: 1, .. }) => Err(ApiError::timeout("the turn to allocate was lost", 1)),
            Err(StoreError::Conflict { current, .. }) => {
                let mut error = ApiError::already_exists(&kind.gvr, &name);
                let deleting = current.is_some_and(|entry| {
                    crate::scan::lookup(entry.bytes(), &["metadata", "deletionTimestamp"]).is_some()
                });
                if deleting {
                    error.message = format!("object is being deleted: {}", error.message);
                }
                Err(error)
            }
            Err(error) => Err(store_error(&error)),
        }
    }
}

/// Upstream: `rest.CheckGeneratedNameError`, `errors.NewGenerateNameConflict`.
fn generated_name_taken(error: &ApiError) -> ApiError {
    let mut error = error.clone();
    error.message = format!("{}, the server was not able to generate a unique name for the object", error.message);
    error.details.get_or_insert_default().retry_after_seconds = 1;
    error
}
