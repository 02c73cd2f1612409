//! What functions do. Each looks at the types its arguments have when it is called, so that it serves all overloads.
//!
//! Upstream counterparts: `cel-go/common/stdlib`, `cel-go/ext`, `k8s.io/apiserver/pkg/cel/library`.

mod arithmetic;
mod authorization;
pub(crate) mod convert;
pub(crate) mod format;
mod lists;
mod network;
mod optional;
pub(crate) mod pattern;
mod quantity;
pub(crate) mod semver;
mod strings;
mod text;
pub(crate) mod time;
pub(crate) mod url;

use regex::Regex;

use crate::{
    error::EvalError,
    value::{List, Opaque, Str, Value},
};

pub(crate) type Out<'a> = Result<Value<'a>, EvalError>;
pub(crate) type Fun = for<'a> fn(&mut Args<'a, '_>) -> Out<'a>;

/// A call's arguments, the receiver first.
pub(crate) struct Args<'a, 'x> {
    pub(crate) function: &'static str,
    /// `""` when several agree with the call.
    pub(crate) overload: &'static str,
    pub(crate) values: &'x mut [Value<'a>],
    /// The compiled pattern, when it is a constant.
    pub(crate) pattern: Option<&'x Regex>,
}

impl<'a> Args<'a, '_> {
    /// Takes an argument; there is a null in its place after.
    pub(crate) fn take(&mut self, index: usize) -> Value<'a> {
        self.values.get_mut(index).map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn get(&self, index: usize) -> &Value<'a> {
        self.values.get(index).unwrap_or(&Value::Null)
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn string(&self, index: usize) -> Result<Str<'a>, EvalError> {
        match self.get(index) {
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.mismatch()),
        }
    }

    pub(crate) fn int(&self, index: usize) -> Result<i64, EvalError> {
        match self.get(index) {
            Value::Int(value) => Ok(*value),
            _ => Err(self.mismatch()),
        }
    }

    pub(crate) fn list(&self, index: usize) -> Result<List<'a>, EvalError> {
        match self.get(index) {
            Value::List(list) => Ok(list.clone()),
            _ => Err(self.mismatch()),
        }
    }

    pub(crate) fn opaque(&self, index: usize) -> Result<&Opaque<'a>, EvalError> {
        match self.get(index) {
            Value::Opaque(opaque) => Ok(opaque),
            _ => Err(self.mismatch()),
        }
    }

    /// No overload has arguments of these types.
    pub(crate) fn mismatch(&self) -> EvalError {
        if self.function.contains('_') {
            return EvalError::NO_OVERLOAD;
        }
        let types: Vec<String> = self.values.iter().map(Value::type_name).collect();
        EvalError::text(format!("no such overload: {}({})", self.function, types.join(", ")))
    }
}

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<(&'static str, Fun)> {
    let at = TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    TABLE.get(at).copied()
}

/// Upstream computes these at once when their argument is a constant.
pub(crate) fn is_conversion(name: &str) -> bool {
    matches!(name, "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type" | "uint")
}

/// Sorted by name.
const TABLE: &[(&str, Fun)] = &[
    ("!_", arithmetic::not),
    ("-_", arithmetic::negate),
    ("@in", lists::contains),
    ("@not_strictly_false", arithmetic::not_strictly_false),
    ("@sortByAssociatedKeys", lists::sort_by),
    ("_%_", arithmetic::modulo),
    ("_*_", arithmetic::multiply),
    ("_+_", arithmetic::add),
    ("_-_", arithmetic::subtract),
    ("_/_", arithmetic::divide),
    ("_<=_", arithmetic::less_equals),
    ("_<_", arithmetic::less),
    ("_>=_", arithmetic::greater_equals),
    ("_>_", arithmetic::greater),
    ("add", quantity::add),
    ("allowed", authorization::allowed),
    ("asApproximateFloat", quantity::as_approximate_float),
    ("asInteger", quantity::as_integer),
    ("bool", convert::bool),
    ("bytes", convert::bytes),
    ("cel.@mapInsert", lists::map_insert),
    ("charAt", strings::char_at),
    ("check", authorization::check),
    ("cidr", network::cidr),
    ("compareTo", quantity::compare_to),
    ("contains", strings::contains),
    ("containsCIDR", network::contains_cidr),
    ("containsIP", network::contains_ip),
    ("distinct", lists::distinct),
    ("double", convert::double),
    ("duration", convert::duration),
    ("dyn", convert::dynamic),
    ("endsWith", strings::ends_with),
    ("error", authorization::error),
    ("errored", authorization::errored),
    ("family", network::family),
    ("fieldSelector", authorization::field_selector),
    ("find", pattern::find),
    ("findAll", pattern::find_all),
    ("first", lists::first),
    ("flatten", lists::flatten),
    ("format", text::format),
    ("format.byte", format::named),
    ("format.date", format::named),
    ("format.datetime", format::named),
    ("format.dns1035Label", format::named),
    ("format.dns1035LabelPrefix", format::named),
    ("format.dns1123Label", format::named),
    ("format.dns1123LabelPrefix", format::named),
    ("format.dns1123Subdomain", format::named),
    ("format.dns1123SubdomainPrefix", format::named),
    ("format.labelValue", format::named),
    ("format.named", format::by_name),
    ("format.qualifiedName", format::named),
    ("format.uri", format::named),
    ("format.uuid", format::named),
    ("getDate", time::get),
    ("getDayOfMonth", time::get),
    ("getDayOfWeek", time::get),
    ("getDayOfYear", time::get),
    ("getEscapedPath", url::get_escaped_path),
    ("getFullYear", time::get),
    ("getHost", url::get_host),
    ("getHostname", url::get_hostname),
    ("getHours", time::get),
    ("getMilliseconds", time::get),
    ("getMinutes", time::get),
    ("getMonth", time::get),
    ("getPort", url::get_port),
    ("getQuery", url::get_query),
    ("getScheme", url::get_scheme),
    ("getSeconds", time::get),
    ("group", authorization::group),
    ("hasValue", optional::has_value),
    ("indexOf", lists::index_of),
    ("int", convert::int),
    ("ip", network::ip),
    ("ip.isCanonical", network::is_canonical),
    ("isCIDR", network::is_cidr),
    ("isGlobalUnicast", network::is_global_unicast),
    ("isGreaterThan", quantity::is_greater_than),
    ("isIP", network::is_ip),
    ("isInteger", quantity::is_integer),
    ("isLessThan", quantity::is_less_than),
    ("isLinkLocalMulticast", network::is_link_local_multicast),
    ("isLinkLocalUnicast", network::is_link_local_unicast),
    ("isLoopback", network::is_loopback),
    ("isQuantity", quantity::is_quantity),
    ("isSemver", semver::is_semver),
    ("isSorted", lists::is_sorted),
    ("isURL", url::is_url),
    ("isUnspecified", network::is_unspecified),
    ("join", strings::join),
    ("jsonpatch.escapeKey", strings::escape_key),
    ("labelSelector", authorization::label_selector),
    ("last", lists::last),
    ("lastIndexOf", lists::last_index_of),
    ("lists.range", lists::range),
    ("lowerAscii", strings::lower_ascii),
    ("major", semver::major),
    ("masked", network::masked),
    ("matches", pattern::matches),
    ("max", lists::max),
    ("min", lists::min),
    ("minor", semver::minor),
    ("name", authorization::name),
    ("namespace", authorization::namespace),
    ("optional.none", optional::none),
    ("optional.of", optional::of),
    ("optional.ofNonZeroValue", optional::of_non_zero_value),
    ("optional.unwrap", optional::unwrap),
    ("patch", semver::patch),
    ("path", authorization::path),
    ("prefixLength", network::prefix_length),
    ("quantity", quantity::quantity),
    ("reason", authorization::reason),
    ("replace", strings::replace),
    ("resource", authorization::resource),
    ("reverse", lists::reverse),
    ("semver", semver::semver),
    ("serviceAccount", authorization::service_account),
    ("sets.contains", lists::sets_contains),
    ("sets.equivalent", lists::sets_equivalent),
    ("sets.intersects", lists::sets_intersects),
    ("sign", quantity::sign),
    ("size", lists::size),
    ("slice", lists::slice),
    ("sort", lists::sort),
    ("split", strings::split),
    ("startsWith", strings::starts_with),
    ("string", convert::string),
    ("strings.quote", strings::quote),
    ("sub", quantity::sub),
    ("subresource", authorization::subresource),
    ("substring", strings::substring),
    ("sum", lists::sum),
    ("timestamp", convert::timestamp),
    ("trim", strings::trim),
    ("type", convert::type_of),
    ("uint", convert::uint),
    ("unwrapOpt", optional::unwrap),
    ("upperAscii", strings::upper_ascii),
    ("url", url::url),
    ("validate", format::validate),
    ("value", optional::value),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_function_does_something() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        // These the planner does itself.
        const PLANNED: &[&str] = &["_&&_", "_||_", "_?_:_", "_==_", "_!=_", "_[_]", "_[?_]", "_?._", "or", "orValue"];
        for name in crate::library::functions().keys() {
            assert!(find(name).is_some() || PLANNED.contains(name), "{name}");
        }
    }
}
