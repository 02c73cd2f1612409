//! Create. Upstream: `Store.create`, `rest.BeforeCreate`, `handlers.createHandler`.

use apimachinery::ApiError;
use bytes::Bytes;
use store::Expect;

use super::{Kind, Outcome, Registry, Written, admission_request, decode::Body, metadata, store_error};
use crate::{
    RequestCx, Reservation,
    admission::Operation,
    canonical,
    object::AnyObject,
    options::{RequestOptions, WriteOptions},
    ownership::Writer,
};

/// How often a generated name may turn out to be taken. Upstream: `maxNameGenerationCreateAttempts`.
const NAME_ATTEMPTS: usize = 8;
/// How often others may take what was to be reserved.
const RESERVE_ATTEMPTS: usize = 100;

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
            match self.create_once(kind, cx, &mut object, &owned).await {
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

    /// Creates an object that has its name, again where somebody else has taken what was reserved for it.
    async fn create_once(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        object: &mut Box<dyn AnyObject>,
        owned: &[u8],
    ) -> Result<Written, ApiError> {
        let before = kind.resource.allocates().then(|| object.clone_box());
        for _ in 0..RESERVE_ATTEMPTS {
            if let Some(written) = self.create_attempt(kind, cx, &mut **object, owned).await? {
                return Ok(written);
            }
            // What others have taken has to be seen to be kept away from.
            self.inner.store.refresh().await.map_err(|error| store_error(&error))?;
            if let Some(before) = &before {
                *object = before.clone_box();
            }
        }
        Err(ApiError::timeout("others were always faster in taking what was to be reserved", 1))
    }

    /// `None`: somebody else has taken what was reserved.
    async fn create_attempt(
        &self,
        kind: &Kind,
        cx: &RequestCx,
        object: &mut dyn AnyObject,
        owned: &[u8],
    ) -> Result<Option<Written>, ApiError> {
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
                None => Ok(Some(Written { bytes: canonical::unversioned(&served), entry: None, created: true })),
            };
        }
        let companions = reservation.as_deref().map_or(&[][..], Reservation::companions);
        match self.put(kind, (key, Expect::Absent, value), companions, cx.now).await? {
            Outcome::Written(entry) => {
                let bytes = kind.written(&entry, &served);
                Ok(Some(Written { bytes, entry: Some(entry), created: true }))
            }
            // Whatever was in the way has gone meanwhile.
            Outcome::Conflict(None) | Outcome::Taken if kind.resource.allocates() => Ok(None),
            Outcome::Conflict(current) => {
                let mut error = ApiError::already_exists(&kind.gvr, &name);
                let deleting = current.is_some_and(|entry| {
                    apimachinery::scan::lookup(entry.bytes(), &["metadata", "deletionTimestamp"]).is_some()
                });
                if deleting {
                    error.message = format!("object is being deleted: {}", error.message);
                }
                Err(error)
            }
            Outcome::Taken => Ok(None),
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
