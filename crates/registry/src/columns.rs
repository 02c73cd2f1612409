//! Columns of server-side tables.
//!
//! A kind lists its columns as constants; cells are computed from the typed object on demand.
//! Upstream counterpart: `pkg/printers/internalversion` and `rest.DefaultTableConvertor`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

/// What upstream says of `metadata.name`.
pub const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
/// What upstream says of `metadata.creationTimestamp`.
pub const CREATED_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// What a cell may look at beside the object.
#[derive(Clone, Copy, Debug)]
pub struct PrintCx {
    pub now: Timestamp,
}

/// One column of a kind's table.
pub struct Column<T: ?Sized> {
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// OpenAPI format; `name` marks the column that names the object.
    pub format: &'static str,
    pub description: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    pub cell: fn(&T, &PrintCx) -> Value,
}

impl<T: ?Sized> Column<T> {
    pub const fn new(name: &'static str, kind: &'static str, cell: fn(&T, &PrintCx) -> Value) -> Self {
        Self { name, kind, format: "", description: "", priority: 0, cell }
    }

    pub const fn string(name: &'static str, cell: fn(&T, &PrintCx) -> Value) -> Self {
        Self::new(name, "string", cell)
    }

    pub const fn integer(name: &'static str, cell: fn(&T, &PrintCx) -> Value) -> Self {
        Self::new(name, "integer", cell)
    }

    pub const fn boolean(name: &'static str, cell: fn(&T, &PrintCx) -> Value) -> Self {
        Self::new(name, "boolean", cell)
    }

    /// Shown only with `-o wide`.
    pub const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    pub const fn format(mut self, format: &'static str) -> Self {
        self.format = format;
        self
    }

    pub const fn describe(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }
}

impl<T: crate::Object> Column<T> {
    /// The first column of nearly every table.
    pub const NAME: Self = Self {
        name: "Name",
        kind: "string",
        format: "name",
        description: NAME_DESCRIPTION,
        priority: 0,
        cell: |object, _| Value::String(object.metadata().name.clone().unwrap_or_default()),
    };

    /// Time since creation, as `kubectl` shows ages.
    pub const AGE: Self = Self {
        name: "Age",
        kind: "string",
        format: "",
        description: CREATED_DESCRIPTION,
        priority: 0,
        cell: |object, cx| Value::String(since(object.metadata().creation_timestamp.as_ref(), cx)),
    };
}

/// Time since `then`, or `<unknown>` when it is not known (`translateTimestampSince` upstream).
pub fn since(then: Option<&Time>, cx: &PrintCx) -> String {
    match then {
        None => "<unknown>".to_owned(),
        Some(Time(then)) => human_duration(cx.now.as_second() - then.as_second()),
    }
}

/// Time until `then` (`translateTimestampUntil` upstream).
pub fn until(then: Option<&Time>, cx: &PrintCx) -> String {
    match then {
        None => "<unknown>".to_owned(),
        Some(Time(then)) => human_duration(then.as_second() - cx.now.as_second()),
    }
}

/// Two significant units, as `k8s.io/apimachinery/pkg/util/duration.HumanDuration`.
pub fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, "d", hours % 24, "h")
    } else if days < 365 * 2 {
        format!("{days}d")
    } else if days < 365 * 8 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn durations_read_as_upstream() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600, "8h"),
            (48 * 3600, "2d"),
            (49 * 3600, "2d1h"),
            (8 * 86_400, "8d"),
            (730 * 86_400, "2y"),
            (731 * 86_400, "2y1d"),
            (3000 * 86_400, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
