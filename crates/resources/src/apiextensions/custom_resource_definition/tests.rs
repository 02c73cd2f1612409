//! Definitions through their strategy.

use apimachinery::{ErrorList, json};
use registry::{DynamicObject, Strategy as _};
use serde_json::{Value, json};

use super::{CustomResourceDefinitions, conditions, validation};

fn definition(change: impl FnOnce(&mut Value)) -> DynamicObject {
    let mut value = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}},
            }}}],
        },
    });
    change(&mut value);
    let mut object: DynamicObject = json::from_value(&value).unwrap();
    CustomResourceDefinitions.set_defaults(&mut object);
    object
}

fn schema(schema: Value) -> ErrorList {
    validation::definition(&definition(|value| value["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema))
}

fn told(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_upstreams() {
    let object = definition(|_| {});
    assert_eq!(object.fields["spec"]["names"]["singular"], "crontab");
    assert_eq!(object.fields["spec"]["names"]["listKind"], "CronTabList");
    assert_eq!(object.fields["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(object.fields["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(told(&validation::definition(&object)), [""; 0]);
}

#[test]
fn names_and_versions_are_checked() {
    let errors = validation::definition(&definition(|value| {
        value["metadata"]["name"] = "wrong.stable.example.com".into();
        value["spec"]["group"] = "stable".into();
        value["spec"]["scope"] = "Galaxy".into();
        value["spec"]["names"]["shortNames"] = json!(["ok", "Not-ok"]);
        value["spec"]["versions"][0]["storage"] = false.into();
        value["spec"]["versions"][0]["deprecationWarning"] = "x".into();
    }));
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "metadata.name",
            "spec.group",
            "spec.scope",
            "spec.versions[0].deprecationWarning",
            "spec.versions",
            "spec.names.shortNames[1]",
            "status.storedVersions",
        ]
    );
}

#[test]
fn schemas_must_be_structural() {
    assert_eq!(
        told(&schema(json!({"properties": {"a": {}, "b": {"type": "array"}}}))),
        [
            "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields",
            "spec.validation.openAPIV3Schema.properties[b].items: Required value: must be specified",
            "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root",
        ]
    );
    assert_eq!(
        told(&schema(json!({"type": "object", "properties": {"a": {"type": "object"}}, "anyOf": [
            {"properties": {"b": {"minimum": 1}}}, {"type": "object"},
        ]}))),
        [
            "spec.validation.openAPIV3Schema.anyOf[1].type: Forbidden: must be empty to be structural",
            "spec.validation.openAPIV3Schema.properties[b]: Required value: because it is defined in spec.validation.openAPIV3Schema.anyOf[0].properties[b]",
        ]
    );
    assert_eq!(
        told(&schema(json!({"type": "object", "properties": {"port": {
            "x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}],
        }}}))),
        [""; 0]
    );
    assert_eq!(
        told(&schema(
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}})
        )),
        [
            "spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"
        ]
    );
}

#[test]
fn lists_of_maps_need_their_keys() {
    assert_eq!(
        told(&schema(json!({"type": "object", "properties": {"list": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
            "items": {"type": "object", "properties": {"a": {"type": "string"}}},
        }}}))),
        [
            r#"spec.validation.openAPIV3Schema.properties[list].x-kubernetes-list-map-keys: Invalid value: ["a","b"]: entries must all be names of item properties"#,
            "spec.validation.openAPIV3Schema.properties[list].items.properties[a].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ]
    );
}

#[test]
fn defaults_must_be_good() {
    assert_eq!(
        told(&schema(json!({"type": "object", "properties": {
            "a": {"type": "integer", "default": "x"},
            "b": {"type": "object", "default": {"unknown": 1}, "properties": {"c": {"type": "string"}}},
        }}))),
        [
            r#"spec.validation.openAPIV3Schema.properties[a].default: Invalid value: "string":  in body must be of type integer: "string""#,
            r#"spec.validation.openAPIV3Schema.properties[b].default: Invalid value: {"unknown":1}: must not have unknown fields"#,
        ]
    );
}

#[test]
fn versions_that_are_stored_stay() {
    let mut old = definition(|_| {});
    old.fields["status"]["storedVersions"] = json!(["v1beta1", "v1"]);
    conditions::set(
        &mut old,
        &conditions::Condition::new(conditions::ESTABLISHED, "True", "InitialNamesAccepted", ""),
        jiff::Timestamp::UNIX_EPOCH,
    );
    let mut new = old.clone();
    new.fields["spec"]["names"]["kind"] = "Other".into();
    let errors = validation::update(&new, &old);
    assert_eq!(
        told(&errors),
        [
            r#"spec.names.kind: Invalid value: "Other": field is immutable"#,
            r#"status.storedVersions[0]: Invalid value: "v1beta1": missing from spec.versions; v1beta1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1beta1 and removes v1beta1 from status.storedVersions"#,
        ]
    );
}

#[test]
fn protected_groups_need_approval() {
    let change = |annotation: Option<&str>| {
        let annotation = annotation.map(str::to_owned);
        definition(move |value| {
            value["spec"]["group"] = "stable.k8s.io".into();
            value["metadata"]["name"] = "crontabs.stable.k8s.io".into();
            if let Some(annotation) = annotation {
                value["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": annotation});
            }
        })
    };
    assert_eq!(validation::definition(&change(None)).len(), 1);
    assert_eq!(validation::definition(&change(Some("maybe"))).len(), 1);
    assert!(validation::definition(&change(Some("unapproved, an experiment"))).is_empty());
    assert!(validation::definition(&change(Some("https://github.com/kubernetes/kubernetes/pull/1"))).is_empty());
    assert_eq!(validation::approval(&change(Some("https://a.b/c"))).unwrap().status, "True");
}

#[test]
fn conversion_by_webhook_needs_an_address() {
    let errors = validation::definition(&definition(|value| {
        value["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
            "clientConfig": {"url": "http://user@a.b/c?d#e"}, "conversionReviewVersions": ["v7"],
        }});
    }));
    let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
    assert_eq!(
        details,
        [
            "'https' is the only allowed URL scheme; desired format: https://host[/path]",
            "user information is not permitted in the URL",
            "fragments are not permitted in the URL",
            "query parameters are not permitted in the URL",
            "must include at least one of v1, v1beta1",
        ]
    );
}
