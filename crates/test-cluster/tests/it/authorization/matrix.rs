//! Identities times verbs times resources: the server, its reviews and the evaluator say the same; and nobody can give
//! himself, or others, what he does not have.

use http_body_util::BodyExt as _;
use registry::UserInfo;
use serde_json::{Value, json};
use test_cluster::TestCluster;

use super::{
    evaluator::{Policy, Question},
    generated::{Dice, NAMES, NAMESPACES, PATHS, RESOURCES, VERBS, install, rules, users},
};
use crate::http::Client;

const SEEDS: [u64; 3] = [1, 2, 3];

/// Every question there is, with the method and URL that asks it.
fn questions() -> Vec<(Question, String, String)> {
    let mut all = Vec::new();
    for (group, version, plural, namespaced, subresource) in RESOURCES {
        for verb in VERBS {
            for namespace in if namespaced { &NAMESPACES[..] } else { &[""][..] } {
                for name in NAMES {
                    let needs_name = matches!(verb, "get" | "update" | "patch" | "delete") || !subresource.is_empty();
                    let wants_none =
                        matches!(verb, "list" | "watch" | "create" | "deletecollection") && subresource.is_empty();
                    let odd = !subresource.is_empty() && matches!(verb, "list" | "watch" | "deletecollection");
                    if (needs_name && name.is_empty()) || (wants_none && !name.is_empty()) || odd {
                        continue;
                    }
                    let prefix = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
                    let mut url = format!("{prefix}/{version}");
                    if namespaced {
                        url.push_str(&format!("/namespaces/{namespace}"));
                    }
                    for part in [plural, name, subresource].iter().filter(|part| !part.is_empty()) {
                        url.push_str(&format!("/{part}"));
                    }
                    let method = match verb {
                        "get" | "list" | "watch" => "GET",
                        "create" => "POST",
                        "update" => "PUT",
                        "patch" => "PATCH",
                        _ => "DELETE",
                    };
                    // Nothing is really done.
                    url.push_str(if verb == "watch" { "?watch=true&timeoutSeconds=1" } else { "?dryRun=All" });
                    let question = Question {
                        verb: verb.to_owned(),
                        group: group.to_owned(),
                        resource: plural.to_owned(),
                        subresource: subresource.to_owned(),
                        // As upstream, a namespace is in its own namespace.
                        namespace: if plural == "namespaces" { name.to_owned() } else { (*namespace).to_owned() },
                        name: name.to_owned(),
                        path: None,
                    };
                    all.push((question, method.to_owned(), url));
                }
            }
        }
    }
    for path in PATHS {
        let question = Question { verb: "get".to_owned(), path: Some(path.to_owned()), ..Question::default() };
        all.push((question, "GET".to_owned(), path.to_owned()));
    }
    all
}

fn review(user: &UserInfo, question: &Question) -> Value {
    let spec = match &question.path {
        Some(path) => json!({"nonResourceAttributes": {"verb": question.verb, "path": path}}),
        None => json!({"resourceAttributes": {
            "verb": question.verb, "group": question.group, "resource": question.resource, "version": "v1",
            "subresource": question.subresource, "namespace": question.namespace, "name": question.name,
        }}),
    };
    let mut review = json!({ "spec": spec });
    review["spec"]["user"] = json!(user.name);
    review["spec"]["groups"] = json!(user.groups);
    review
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_and_its_reviews_say_what_the_policy_says() {
    for seed in SEEDS {
        let cluster = TestCluster::start().await.unwrap();
        let admin = Client::admin(&cluster);
        let mut dice = Dice(seed);
        install(&admin, &mut dice).await;
        let policy = Policy::read(&admin).await;
        let (mut allowed, mut refused) = (0, 0);
        for user in users() {
            let client = if user.name == UserInfo::ANONYMOUS {
                Client::nobody(&cluster)
            } else {
                Client::of(&cluster, user.clone())
            };
            for (question, method, url) in questions() {
                let expected = policy.allows(&user, &question);
                if expected {
                    allowed += 1
                } else {
                    refused += 1
                }
                // One in three is asked of the server itself too, all of them as reviews.
                if dice.roll(3) == 0 {
                    let headers = [(
                        "content-type",
                        if method == "PATCH" { "application/merge-patch+json" } else { "application/json" },
                    )];
                    let answer = client.open(&method, &url, &headers, "{}").await;
                    let status = answer.status();
                    // Admission refuses with the same code, but in other words.
                    let forbidden = status == 403 && {
                        let body = answer.into_body().collect().await.unwrap().to_bytes();
                        String::from_utf8_lossy(&body).contains(&format!(" cannot {} ", question.verb))
                    };
                    assert_eq!(
                        !forbidden, expected,
                        "seed {seed}: {} {method} {url} {question:?}: {status}",
                        user.name
                    );
                }
                let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
                let answer = admin.post(path, &review(&user, &question)).await.json();
                assert_eq!(answer["status"]["allowed"], expected, "seed {seed}: {} {question:?}: {answer}", user.name);
            }
        }
        assert!(allowed > 500 && refused > 500, "seed {seed}: {allowed} allowed, {refused} refused: says little");
    }
}

/// Whoever writes a role or a binding has what it grants, or the verb for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_grants_what_he_does_not_have() {
    const GROUP: &str = "rbac.authorization.k8s.io";
    for seed in SEEDS {
        let cluster = TestCluster::start().await.unwrap();
        let admin = Client::admin(&cluster);
        let mut dice = Dice(seed);
        install(&admin, &mut dice).await;
        // Everybody may write roles and bindings, as far as plain authorization goes.
        let writers = json!({"metadata": {"name": "writers"}, "rules": [{
            "apiGroups": [GROUP], "resources": ["roles", "clusterroles", "rolebindings", "clusterrolebindings"],
            "verbs": ["create", "update", "patch", "get"]}]});
        assert_eq!(admin.post(&format!("/apis/{GROUP}/v1/clusterroles"), &writers).await.status, 201);
        let binding = json!({"metadata": {"name": "writers"},
            "subjects": [{"kind": "Group", "name": "system:authenticated", "apiGroup": GROUP}],
            "roleRef": {"kind": "ClusterRole", "name": "writers", "apiGroup": GROUP}});
        assert_eq!(admin.post(&format!("/apis/{GROUP}/v1/clusterrolebindings"), &binding).await.status, 201);
        let policy = Policy::read(&admin).await;
        let (mut granted, mut refused) = (0, 0);
        for user in users().into_iter().filter(|user| user.name != UserInfo::ANONYMOUS) {
            let client = Client::of(&cluster, user.clone());
            let is_root = user.groups.iter().any(|group| group == "system:masters");
            let may = |verb: &str, resource: &str, namespace: &str, name: &str| {
                policy.allows(
                    &user,
                    &Question {
                        verb: verb.to_owned(),
                        group: GROUP.to_owned(),
                        resource: resource.to_owned(),
                        namespace: namespace.to_owned(),
                        name: name.to_owned(),
                        ..Question::default()
                    },
                )
            };
            for round in 0..60 {
                let namespace = if dice.roll(2) == 0 { "" } else { *dice.pick(&NAMESPACES) };
                let scope = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
                let cluster_wide = namespace.is_empty();
                let (plural, object, expected) = if round % 2 == 0 {
                    let wanted = rules(&mut dice, !cluster_wide);
                    let plural = if cluster_wide { "clusterroles" } else { "roles" };
                    let expected = may("escalate", plural, namespace, "") || policy.holds(&user, namespace, &wanted);
                    (plural, json!({"metadata": {"name": "new"}, "rules": wanted}), expected)
                } else {
                    let plural = if cluster_wide { "clusterrolebindings" } else { "rolebindings" };
                    let reference = if cluster_wide || dice.roll(2) == 0 {
                        json!({"kind": "ClusterRole", "name": format!("c{}", dice.roll(12)), "apiGroup": GROUP})
                    } else {
                        json!({"kind": "Role", "name": format!("r{}", dice.roll(6)), "apiGroup": GROUP})
                    };
                    let roles = if reference["kind"] == "Role" { "roles" } else { "clusterroles" };
                    let wanted = policy.role_rules(&reference, namespace);
                    let name = reference["name"].as_str().unwrap();
                    let expected = may("bind", roles, namespace, name) || policy.holds(&user, namespace, &wanted);
                    let subjects = json!([{"kind": "User", "name": user.name, "apiGroup": GROUP}]);
                    let object = json!({"metadata": {"name": "new"}, "subjects": subjects, "roleRef": reference});
                    (plural, object, expected)
                };
                let expected = expected || is_root;
                if expected {
                    granted += 1
                } else {
                    refused += 1
                }
                let url = format!("/apis/{GROUP}/v1{scope}/{plural}");
                let answer = client.post(&format!("{url}?dryRun=All"), &object).await;
                assert_eq!(
                    answer.status == 201,
                    expected,
                    "seed {seed}: {} {url} {object}: {}",
                    user.name,
                    answer.json()
                );
                assert_eq!(answer.status == 403, !expected, "seed {seed}: {}", answer.json());
                // The same by PUT, which creates.
                let put = format!("{url}/new?dryRun=All");
                let answer =
                    client.send("PUT", &put, &[("content-type", "application/json")], object.to_string()).await;
                // Whoever may escalate by name may so only with a name, which a POST has none of.
                if !answer.status.is_success() || expected {
                    assert_eq!(
                        answer.status.is_success(),
                        expected,
                        "seed {seed}: PUT {} {object}: {}",
                        user.name,
                        answer.json()
                    );
                } else {
                    assert!(may("escalate", plural, namespace, "new"), "seed {seed}: PUT {} {object}", user.name);
                }
            }
        }
        assert!(granted > 20 && refused > 100, "seed {seed}: {granted} granted, {refused} refused: says little");
    }
}
