//! Options of requests, as queries and DeleteOptions bodies carry them. Upstream: `metav1.ListOptions` and its siblings.

use apimachinery::{
    ApiError, Gvr, ResourceVersion, Selector,
    field::{Error, ErrorList, Path},
    fields::FieldSelector,
    key::InvalidResourceVersion,
};
use serde_json::{Value, json};

use crate::admission::Operation;

/// How unknown and duplicate fields of a body are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    pub field_manager: String,
    /// Only of an apply: take fields that others have.
    pub force: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

#[derive(Clone, Debug)]
pub struct ListOptions {
    pub labels: Selector,
    pub fields: FieldSelector,
    /// `None`: not given. `Some(0)`: any version will do.
    pub resource_version: Option<ResourceVersion>,
    pub version_match: Option<VersionMatch>,
    pub limit: u64,
    pub continue_token: String,
    pub watch: bool,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout_seconds: Option<u64>,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            labels: Selector::everything(),
            fields: FieldSelector::default(),
            resource_version: None,
            version_match: None,
            limit: 0,
            continue_token: String::new(),
            watch: false,
            allow_bookmarks: false,
            send_initial_events: None,
            timeout_seconds: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub dry_run: bool,
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    /// Deprecated, and still sent.
    pub orphan_dependents: Option<bool>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// The options of a request, whichever they are. Upstream: `admission.Attributes.GetOperationOptions`.
#[derive(Clone, Debug)]
pub enum RequestOptions {
    Write(WriteOptions),
    Delete(DeleteOptions),
}

impl RequestOptions {
    /// As an object of `meta.k8s.io/v1`. Of a patch, admission sees what it comes to: a creation or an update.
    pub fn to_json(&self, operation: Operation) -> Value {
        let write = match self {
            Self::Write(options) => options,
            Self::Delete(options) => return options.to_json(),
        };
        let kind = if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
        let mut json = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if write.dry_run {
            json["dryRun"] = json!(["All"]);
        }
        if !write.field_manager.is_empty() {
            json["fieldManager"] = write.field_manager.as_str().into();
        }
        match write.field_validation {
            FieldValidation::Strict => json["fieldValidation"] = "Strict".into(),
            FieldValidation::Ignore => json["fieldValidation"] = "Ignore".into(),
            FieldValidation::Warn => {}
        }
        json
    }
}

/// One decoded query parameter list.
pub type Query = [(String, String)];

fn value<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A flag of the query. Upstream's `runtime.Convert_Slice_string_To_bool`: the first value counts, and anything but
/// `0` and `false`, however it is written, is true.
pub fn flag(query: &Query, name: &str) -> Option<bool> {
    value(query, name).map(|text| !matches!(text.to_ascii_lowercase().as_str(), "false" | "0"))
}

fn integer(query: &Query, name: &str) -> Result<Option<i64>, ApiError> {
    match value(query, name) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!(
                "strconv.ParseInt: parsing {}: invalid syntax",
                apimachinery::field::go_quote(text)
            ))
        }),
    }
}

fn dry_run(query: &Query, kind: &str) -> Result<bool, ApiError> {
    let values: Vec<&str> = query.iter().filter(|(key, _)| key == "dryRun").map(|(_, value)| value.as_str()).collect();
    match values.as_slice() {
        [] => Ok(false),
        all if all.iter().all(|value| *value == "All") => Ok(true),
        all => {
            let errors = Error::not_supported(&Path::new("dryRun"), all.join(","), &["All"]).into();
            Err(ApiError::invalid("meta.k8s.io", kind, "", &errors))
        }
    }
}

impl WriteOptions {
    /// `kind` is the upstream name of the options: `CreateOptions`, `UpdateOptions`, `PatchOptions`.
    pub fn from_query(query: &Query, kind: &str) -> Result<Self, ApiError> {
        let field_validation = match value(query, "fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let errors =
                    Error::not_supported(&Path::new("fieldValidation"), other, &["", "Ignore", "Strict", "Warn"])
                        .into();
                return Err(ApiError::invalid("meta.k8s.io", kind, "", &errors));
            }
        };
        let field_manager = value(query, "fieldManager").unwrap_or_default().to_owned();
        let errors = validate_field_manager(&field_manager);
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", kind, "", &errors));
        }
        Ok(Self { dry_run: dry_run(query, kind)?, field_validation, field_manager, force: flag(query, "force") })
    }

    /// Options of a patch; an apply has to name its manager, and only it may be forced.
    pub fn of_patch(query: &Query, is_apply: bool) -> Result<Self, ApiError> {
        let options = Self::from_query(query, "PatchOptions")?;
        let error = match (is_apply, options.field_manager.is_empty(), options.force) {
            (true, true, _) => Error::required(&Path::new("fieldManager"), "is required for apply patch"),
            (false, _, Some(_)) => Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"),
            _ => return Ok(options),
        };
        Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &error.into()))
    }
}

/// Longest name of a manager, in bytes. Upstream: `FieldManagerMaxLength`.
const FIELD_MANAGER_MAX: usize = 128;

/// Upstream: `ValidateFieldManager`.
fn validate_field_manager(name: &str) -> ErrorList {
    let path = Path::new("fieldManager");
    let mut errors = ErrorList::new();
    if name.len() > FIELD_MANAGER_MAX {
        errors.push(Error::too_long(&path, FIELD_MANAGER_MAX));
    }
    for (at, character) in name.char_indices().filter(|(_, character)| !is_printable(*character)) {
        let shown = if character.is_control() {
            format!("U+{:04X}", u32::from(character))
        } else {
            format!("U+{:04X} '{character}'", u32::from(character))
        };
        errors.push(Error::invalid(&path, name, format!("invalid character {shown} (at position {at})")));
    }
    errors
}

/// As near to Go's `unicode.IsPrint` as the standard library comes: of blanks only the ASCII space.
fn is_printable(character: char) -> bool {
    character == ' ' || !(character.is_control() || character.is_whitespace())
}

/// Whose fields a request sets that names no manager: what stands before the first slash of its `User-Agent`.
/// Upstream: `prefixFromUserAgent`.
pub fn manager_of_user_agent(user_agent: &str) -> String {
    let mut name = String::new();
    for character in user_agent.split('/').next().unwrap_or_default().chars().filter(|it| is_printable(*it)) {
        if name.len() + character.len_utf8() > FIELD_MANAGER_MAX {
            break;
        }
        name.push(character);
    }
    name
}

impl ListOptions {
    /// Whether a watch begins with the state of things.
    pub fn wants_initial_events(&self) -> bool {
        match self.send_initial_events {
            Some(wanted) => wanted,
            None => self.resource_version.is_none_or(|version| version.0 == 0),
        }
    }

    /// Of a list, or of a list that says `watch`.
    pub fn from_query(query: &Query) -> Result<Self, ApiError> {
        Self::parse(query, &|error| ApiError::bad_request(format!("invalid resource version: {error}")))
    }

    /// Of a watch; `resource` is what a wrong version is told of.
    pub fn of_watch(query: &Query, resource: &Gvr) -> Result<Self, ApiError> {
        let options =
            Self::parse(query, &|error| ApiError::invalid(&resource.group, &resource.resource, "", &error.into()))?;
        Ok(Self { watch: true, ..options })
    }

    fn parse(query: &Query, wrong_version: &dyn Fn(Error) -> ApiError) -> Result<Self, ApiError> {
        let selector = |error: apimachinery::labels::SelectorError| ApiError::bad_request(error.to_string());
        let labels = match value(query, "labelSelector") {
            None | Some("") => Selector::everything(),
            Some(text) => Selector::parse(text)
                .map_err(|error| ApiError::bad_request(format!("unable to parse requirement: {error}")))?,
        };
        let fields = FieldSelector::parse(value(query, "fieldSelector").unwrap_or_default()).map_err(selector)?;
        let watch = flag(query, "watch").unwrap_or(false);
        let resource_version_text = value(query, "resourceVersion").unwrap_or_default();
        let continue_token = value(query, "continue").unwrap_or_default().to_owned();
        let send_initial_events = flag(query, "sendInitialEvents");
        let match_text = value(query, "resourceVersionMatch").unwrap_or_default();
        let errors = Self::validate(watch, resource_version_text, match_text, &continue_token, send_initial_events);
        if !errors.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &errors));
        }
        let resource_version = match resource_version_text {
            "" => None,
            text => Some(text.parse().map_err(|error: InvalidResourceVersion| {
                wrong_version(Error::invalid(&Path::new("resourceVersion"), text, error.to_string()))
            })?),
        };
        Ok(Self {
            labels,
            fields,
            resource_version,
            version_match: match match_text {
                "Exact" => Some(VersionMatch::Exact),
                "NotOlderThan" => Some(VersionMatch::NotOlderThan),
                _ => None,
            },
            limit: integer(query, "limit")?.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0),
            continue_token,
            watch,
            allow_bookmarks: flag(query, "allowWatchBookmarks").unwrap_or(false),
            send_initial_events,
            timeout_seconds: integer(query, "timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()),
        })
    }

    /// Upstream: `metainternalversionvalidation.ValidateListOptions`.
    fn validate(
        watch: bool,
        resource_version: &str,
        version_match: &str,
        continue_token: &str,
        send_initial_events: Option<bool>,
    ) -> ErrorList {
        let path = Path::new("resourceVersionMatch");
        let mut errors = ErrorList::new();
        if watch {
            if send_initial_events.is_some() && version_match != "NotOlderThan" {
                errors.push(Error::forbidden(
                    &path,
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
            if !version_match.is_empty() {
                if send_initial_events.is_none() {
                    errors.push(Error::forbidden(
                        &path,
                        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                    ));
                }
                if version_match != "NotOlderThan" {
                    errors.push(Error::not_supported(&path, version_match, &["NotOlderThan"]));
                }
                if !continue_token.is_empty() {
                    errors.push(Error::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
                }
            }
            return errors;
        }
        if !version_match.is_empty() {
            if resource_version.is_empty() {
                errors.push(Error::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !continue_token.is_empty() {
                errors.push(Error::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
            }
            if !matches!(version_match, "Exact" | "NotOlderThan") {
                errors.push(Error::not_supported(&path, version_match, &["Exact", "NotOlderThan", ""]));
            }
            if version_match == "Exact" && resource_version == "0" {
                errors.push(Error::forbidden(
                    &path,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if send_initial_events.is_some() {
            errors.push(Error::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
        }
        errors
    }
}

/// A resource version from a query.
pub fn parse_resource_version(text: &str) -> Result<ResourceVersion, ApiError> {
    text.parse().map_err(|error: InvalidResourceVersion| {
        let errors = Error::invalid(&Path::new("resourceVersion"), text, error.to_string()).into();
        ApiError::invalid("", "", "", &errors)
    })
}

impl DeleteOptions {
    pub fn from_query(query: &Query) -> Result<Self, ApiError> {
        let mut options = Self {
            dry_run: dry_run(query, "DeleteOptions")?,
            grace_period_seconds: integer(query, "gracePeriodSeconds")?,
            orphan_dependents: flag(query, "orphanDependents"),
            ..Self::default()
        };
        options.set_propagation(value(query, "propagationPolicy"))?;
        options.validate()?;
        Ok(options)
    }

    /// From a `DeleteOptions` body as JSON.
    pub fn from_json(body: &Value) -> Result<Self, ApiError> {
        let wrong = |what: &str| ApiError::bad_request(format!("DeleteOptions: {what} has the wrong type"));
        let mut options = Self::default();
        match &body["gracePeriodSeconds"] {
            Value::Null => {}
            number => {
                options.grace_period_seconds = Some(number.as_i64().ok_or_else(|| wrong("gracePeriodSeconds"))?);
            }
        }
        match &body["orphanDependents"] {
            Value::Null => {}
            orphan => options.orphan_dependents = Some(orphan.as_bool().ok_or_else(|| wrong("orphanDependents"))?),
        }
        if let Some(values) = body["dryRun"].as_array()
            && !values.is_empty()
        {
            if values.iter().any(|value| value != "All") {
                let errors = Error::not_supported(&Path::new("dryRun"), body["dryRun"].clone(), &["All"]).into();
                return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
            }
            options.dry_run = true;
        }
        options.set_propagation(body["propagationPolicy"].as_str())?;
        let text = |name: &str| body["preconditions"][name].as_str().map(str::to_owned);
        options.uid = text("uid");
        options.resource_version = text("resourceVersion");
        options.validate()?;
        Ok(options)
    }

    fn to_json(&self) -> Value {
        let mut json = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(seconds) = self.grace_period_seconds {
            json["gracePeriodSeconds"] = seconds.into();
        }
        for (name, value) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(value) = value {
                json["preconditions"][name] = value.as_str().into();
            }
        }
        if let Some(orphan) = self.orphan_dependents {
            json["orphanDependents"] = orphan.into();
        }
        if let Some(propagation) = self.propagation {
            json["propagationPolicy"] = match propagation {
                Propagation::Orphan => "Orphan",
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
            }
            .into();
        }
        if self.dry_run {
            json["dryRun"] = json!(["All"]);
        }
        json
    }

    fn set_propagation(&mut self, text: Option<&str>) -> Result<(), ApiError> {
        self.propagation = match text.unwrap_or_default() {
            "" => None,
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            other => {
                let errors = Error::not_supported(
                    &Path::new("propagationPolicy"),
                    other,
                    &["Foreground", "Background", "Orphan", "nil"],
                )
                .into();
                return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
            }
        };
        Ok(())
    }

    fn validate(&self) -> Result<(), ApiError> {
        if self.orphan_dependents.is_some() && self.propagation.is_some() {
            let errors = Error::invalid(
                &Path::new("propagationPolicy"),
                Value::Null,
                "orphanDependents and deletionPropagation cannot be both set",
            )
            .into();
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let query =
            |values: &[&str]| values.iter().map(|value| ("f".to_owned(), (*value).to_owned())).collect::<Vec<_>>();
        assert_eq!(flag(&query(&[]), "f"), None);
        // Python writes False.
        for no in ["false", "False", "FALSE", "0"] {
            assert_eq!(flag(&query(&[no, "true"]), "f"), Some(false), "{no}");
        }
        for yes in ["true", "True", "1", "", "no"] {
            assert_eq!(flag(&query(&[yes, "false"]), "f"), Some(true), "{yes}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_query_is_an_answer(pairs: Vec<(String, String)>, text: String) {
            let named = ["labelSelector", "fieldSelector", "limit", "resourceVersion", "dryRun", "propagationPolicy"]
                .map(|name| (name.to_owned(), text.clone()));
            for query in [&pairs[..], &named[..]] {
                // Refused or not: what matters is that it is decided, with a message of reasonable size.
                let errors = [
                    ListOptions::from_query(query).err(),
                    DeleteOptions::from_query(query).err(),
                    WriteOptions::from_query(query, "CreateOptions").err(),
                ];
                for error in errors.into_iter().flatten() {
                    proptest::prop_assert!((400..500).contains(&error.code));
                }
            }
        }
    }

    #[test]
    fn delete_options_are_checked() {
        let code = |body: Value| DeleteOptions::from_json(&body).err().map_or(200, |error| error.code);
        assert_eq!(code(serde_json::json!({"gracePeriodSeconds": 5, "propagationPolicy": "Orphan"})), 200);
        assert_eq!(code(serde_json::json!({"gracePeriodSeconds": "5"})), 400);
        assert_eq!(code(serde_json::json!({"propagationPolicy": "Sideways"})), 422);
        assert_eq!(code(serde_json::json!({"propagationPolicy": "Orphan", "orphanDependents": true})), 422);
        assert_eq!(code(serde_json::json!({"dryRun": ["Some"]})), 422);
    }
}
