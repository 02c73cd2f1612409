//! Webhooks that answer well and badly; facts of upstream's `webhook_converter_test.go`.

use parking_lot::Mutex;

use super::*;

/// Answers whatever the test makes of a review.
struct Answering<F>(F, Mutex<usize>);

impl<F: Fn(Value) -> Value + Send + Sync> Webhooks for Answering<F> {
    fn call<'a>(&'a self, _config: &'a ClientConfig, review: Bytes) -> BoxFuture<'a, Result<Bytes, String>> {
        *self.1.lock() += 1;
        let review = serde_json::from_slice(&review).unwrap();
        Box::pin(async move { Ok(Bytes::from((self.0)(review).to_string())) })
    }
}

fn webhook(version: &str) -> Conversion {
    Conversion::of(&json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": "https://example.com"}, "conversionReviewVersions": [version],
    }}))
}

fn object(version: &str, name: &str) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Foo",
           "metadata": {"name": name, "uid": "u", "resourceVersion": "3", "labels": {"a": "b"}}, "spec": {"v": version}})
}

/// A good answer, changed by the test.
fn answer(review: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let request = &review["request"];
    let objects: Vec<Value> = request["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let mut object = object.clone();
            object["apiVersion"] = request["desiredAPIVersion"].clone();
            object["spec"] = json!({"converted": true});
            object["metadata"]["resourceVersion"] = "999".into();
            object["metadata"]["labels"] = json!({"new": "label"});
            object
        })
        .collect();
    let mut answer = json!({
        "apiVersion": review["apiVersion"], "kind": "ConversionReview",
        "response": {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects},
    });
    change(&mut answer);
    answer
}

async fn run(conversion: &Conversion, change: fn(&mut Value)) -> Result<Vec<Value>, String> {
    let webhooks = Answering(move |review: Value| answer(&review, change), Mutex::new(0));
    let objects = vec![object("v1", "a"), object("v2", "b"), object("v1", "c")];
    convert(conversion, &webhooks, objects, "example.com/v2").await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn only_foreign_objects_are_sent_and_only_labels_and_annotations_of_metadata_are_taken() {
    let converted = run(&webhook("v1"), |_| {}).await.unwrap();
    assert_eq!(converted[1], object("v2", "b"));
    for index in [0, 2] {
        assert_eq!(converted[index]["apiVersion"], "example.com/v2");
        assert_eq!(converted[index]["spec"], json!({"converted": true}));
        assert_eq!(converted[index]["metadata"]["resourceVersion"], "3");
        assert_eq!(converted[index]["metadata"]["labels"], json!({"new": "label"}));
    }
}

#[tokio::test]
async fn without_a_webhook_only_the_version_changes() {
    let converted = run(&Conversion::None, |_| {}).await.unwrap();
    assert_eq!(converted[0]["apiVersion"], "example.com/v2");
    assert_eq!(converted[0]["spec"], json!({"v": "v1"}));
}

#[tokio::test]
async fn answers_are_not_trusted() {
    let kind = "example.com/v1, Kind=Foo";
    type Spoil = fn(&mut Value);
    let cases: [(Spoil, String); 9] = [
        (|answer| answer["response"]["uid"] = "x".into(), "expected response.uid=".to_owned()),
        (|answer| answer["apiVersion"] = "v9".into(), "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /v9, Kind=ConversionReview".to_owned()),
        (|answer| answer["response"] = Value::Null, "no response provided".to_owned()),
        (|answer| answer["response"]["result"] = json!({"status": "Failure", "message": "no way"}), format!("conversion webhook for {kind} failed: no way")),
        (|answer| answer["response"]["result"] = json!({"status": "Maybe"}), "response.result.status was 'Maybe', not 'Success'".to_owned()),
        (|answer| { answer["response"]["convertedObjects"].as_array_mut().unwrap().pop(); }, format!("conversion webhook for {kind} returned 1 objects, expected 2")),
        (|answer| answer["response"]["convertedObjects"][1]["metadata"]["name"] = "z".into(), format!("conversion webhook for {kind} returned invalid converted object at index 1: must have the same name: c != z")),
        (|answer| answer["response"]["convertedObjects"][0]["apiVersion"] = "example.com/v3".into(), "invalid groupVersion (expected example.com/v2, received example.com/v3)".to_owned()),
        (|answer| answer["response"]["convertedObjects"][0]["metadata"]["labels"] = json!({"not ok": "x"}), "returned invalid metadata in object at index 0: metadata.labels".to_owned()),
    ];
    for (change, wanted) in cases {
        let error = run(&webhook("v1"), change).await.unwrap_err();
        assert!(error.contains(&wanted), "{error}\n{wanted}");
    }
    // Reviews of the older version carry no promise of their own name.
    assert!(run(&webhook("v1beta1"), |answer| answer["response"]["uid"] = "x".into()).await.is_ok());
    assert!(run(&webhook("v7"), |_| {}).await.is_err());
}
