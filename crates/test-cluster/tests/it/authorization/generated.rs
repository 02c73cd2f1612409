//! Policies out of a seed.

use registry::UserInfo;
use serde_json::{Value, json};

use crate::http::Client;

/// A generator that gives the same for the same seed (`splitmix64`).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }

    /// One to three of them.
    fn some<T: Clone>(&mut self, all: &[T]) -> Vec<T> {
        (0..=self.roll(3)).map(|_| self.pick(all).clone()).collect()
    }
}

pub(crate) const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
pub(crate) const NAMESPACES: [&str; 3] = ["one", "two", "three"];
pub(crate) const NAMES: [&str; 3] = ["", "x", "y"];
/// Group, version, plural, whether in a namespace, subresource.
pub(crate) const RESOURCES: [(&str, &str, &str, bool, &str); 12] = [
    ("", "v1", "pods", true, ""),
    ("", "v1", "pods", true, "status"),
    ("", "v1", "secrets", true, ""),
    ("", "v1", "configmaps", true, ""),
    ("", "v1", "serviceaccounts", true, ""),
    ("", "v1", "serviceaccounts", true, "token"),
    ("", "v1", "nodes", false, ""),
    ("", "v1", "namespaces", false, ""),
    ("apps", "v1", "deployments", true, ""),
    ("apps", "v1", "deployments", true, "scale"),
    ("rbac.authorization.k8s.io", "v1", "roles", true, ""),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", false, ""),
];
pub(crate) const PATHS: [&str; 6] = ["/healthz", "/healthz/ping", "/version", "/metrics", "/api", "/openapi/v3/api/v1"];

pub(crate) fn users() -> Vec<UserInfo> {
    let mut users: Vec<UserInfo> = ["ada", "bob", "eve"]
        .into_iter()
        .zip(["dev", "ops", "dev"])
        .map(|(name, group)| UserInfo::new(name, [group, "system:authenticated"]))
        .collect();
    for (namespace, name) in [("one", "x"), ("two", "x"), ("kube-system", "y")] {
        let groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        users.push(UserInfo::new(format!("system:serviceaccount:{namespace}:{name}"), groups));
    }
    users.push(UserInfo::anonymous());
    users.push(UserInfo::new("nobody", ["system:authenticated"]));
    users.push(UserInfo::new("root", ["system:masters", "system:authenticated"]));
    users
}

pub(crate) fn rules(dice: &mut Dice, namespaced: bool) -> Vec<Value> {
    let verbs: Vec<&str> = VERBS.iter().copied().chain(["*", "escalate", "bind", "impersonate"]).collect();
    let groups = ["", "apps", "rbac.authorization.k8s.io", "*"];
    let resources: Vec<String> = RESOURCES
        .iter()
        .map(|(_, _, plural, _, sub)| if sub.is_empty() { (*plural).to_owned() } else { format!("{plural}/{sub}") })
        .chain(["*", "*/status", "pods/*"].map(str::to_owned))
        .collect();
    (0..=dice.roll(3))
        .map(|_| {
            if !namespaced && dice.roll(5) == 0 {
                let paths: Vec<&str> = PATHS.iter().copied().chain(["*", "/healthz/*", "/openapi*"]).collect();
                return json!({"verbs": dice.some(&["get", "*", "post"]), "nonResourceURLs": dice.some(&paths)});
            }
            let mut rule = json!({"verbs": dice.some(&verbs), "apiGroups": dice.some(&groups), "resources": dice.some(&resources)});
            if dice.roll(4) == 0 {
                rule["resources"] = json!([dice.pick(&resources)]);
                rule["resourceNames"] = json!(dice.some(&["x", "y"]));
            }
            rule
        })
        .collect()
}

fn subjects(dice: &mut Dice) -> Vec<Value> {
    let of = |kind: &str, name: &str| json!({"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    let all = [
        of("User", "ada"),
        of("User", "bob"),
        of("User", "system:anonymous"),
        of("User", "system:serviceaccount:one:x"),
        of("Group", "dev"),
        of("Group", "ops"),
        of("Group", "system:serviceaccounts:two"),
        json!({"kind": "ServiceAccount", "name": "x", "namespace": "one"}),
        json!({"kind": "ServiceAccount", "name": "y", "namespace": "kube-system"}),
    ];
    dice.some(&all)
}

/// Namespaces, roles and bindings.
pub(crate) async fn install(admin: &Client, dice: &mut Dice) {
    const GROUP: &str = "/apis/rbac.authorization.k8s.io/v1";
    let put = async |url: String, object: Value| {
        let answer = admin.post(&url, &object).await;
        assert_eq!(answer.status, 201, "{object}: {}", answer.json());
    };
    for namespace in NAMESPACES {
        put("/api/v1/namespaces".to_owned(), json!({"metadata": {"name": namespace}})).await;
        for number in 0..6 {
            let role = json!({"metadata": {"name": format!("r{number}")}, "rules": rules(dice, true)});
            put(format!("{GROUP}/namespaces/{namespace}/roles"), role).await;
        }
    }
    for number in 0..12 {
        let role = json!({"metadata": {"name": format!("c{number}")}, "rules": rules(dice, false)});
        put(format!("{GROUP}/clusterroles"), role).await;
    }
    let reference =
        |kind: &str, name: String| json!({"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    for number in 0..10 {
        let binding = json!({"metadata": {"name": format!("b{number}")}, "subjects": subjects(dice),
            // Some of them do not exist.
            "roleRef": reference("ClusterRole", format!("c{}", dice.roll(14)))});
        // Only every third for the whole cluster, so that namespaces matter.
        if number % 3 == 0 {
            put(format!("{GROUP}/clusterrolebindings"), binding).await;
        } else {
            put(format!("{GROUP}/namespaces/{}/rolebindings", dice.pick(&NAMESPACES)), binding).await;
        }
    }
    for number in 10..25 {
        let binding = json!({"metadata": {"name": format!("b{number}")}, "subjects": subjects(dice),
            "roleRef": reference("Role", format!("r{}", dice.roll(7)))});
        put(format!("{GROUP}/namespaces/{}/rolebindings", dice.pick(&NAMESPACES)), binding).await;
    }
}
