//! What an update changed, for messages that refuse it.
//!
//! Upstream prints a Go-specific diff (`cmp.Diff`); here each changed leaf is a removed and an added line.

use serde::Serialize;
use serde_json::Value;

/// More lines than this help nobody.
const MAX_LINES: usize = 40;

/// `-` and `+` lines for every leaf that differs.
pub(crate) fn lines<T: Serialize>(old: &T, new: &T) -> String {
    let (old, new) = (json(old), json(new));
    let mut lines = Vec::new();
    walk("", Some(&old), Some(&new), &mut lines);
    let cut = lines.len() > MAX_LINES;
    lines.truncate(MAX_LINES);
    if cut {
        lines.push("  ...".to_owned());
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn json<T: Serialize>(value: &T) -> Value {
    apimachinery::json::to_value(value).unwrap_or_default()
}

fn walk(path: &str, old: Option<&Value>, new: Option<&Value>, lines: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                walk(&format!("{path}.{key}"), old.get(key), new.get(key), lines);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                walk(&format!("{path}[{index}]"), old.get(index), new.get(index), lines);
            }
        }
        (old, new) => {
            let path = path.strip_prefix('.').unwrap_or(path);
            lines.extend(old.map(|value| format!("- \t{path}: {value}")));
            lines.extend(new.map(|value| format!("+ \t{path}: {value}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    #[test]
    fn only_changed_leaves_are_named() {
        let old = json!({"a": 1, "list": [{"x": "same"}, {"x": "old"}], "gone": true});
        let new = json!({"a": 1, "list": [{"x": "same"}, {"x": "new"}], "came": {"y": 2}});
        expect![[r#"
            - 	gone: true
            - 	list[1].x: "old"
            + 	list[1].x: "new"
            + 	came: {"y":2}
        "#]]
        .assert_eq(&super::lines(&old, &new));
    }
}
