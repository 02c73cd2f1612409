//! Media types: what the client sends and what it wants back. Upstream: `endpoints/handlers/negotiation`.

use http::{HeaderMap, header};

use apimachinery::ApiError;

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub(crate) const CBOR: &str = "application/cbor";
pub(crate) const CBOR_SEQUENCE: &str = "application/cbor-seq";
/// In upstream's order, which is the order of preference where a client takes anything.
const ACCEPTED: [&str; 4] = [JSON, YAML, PROTOBUF, CBOR];
/// Of kinds that no protobuf message describes: custom resources.
const ACCEPTED_CUSTOM: [&str; 3] = [JSON, YAML, CBOR];
const ACCEPTED_STREAMS: [&str; 3] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch", CBOR_SEQUENCE];
const ACCEPTED_STREAMS_CUSTOM: [&str; 2] = ["application/json;stream=watch", CBOR_SEQUENCE];
/// Longest `Accept` header that is looked at, in clauses.
const MAX_CLAUSES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
    Cbor,
}

/// What an object is turned into before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Object,
    Table,
    /// `PartialObjectMetadata`, of one object.
    Metadata,
    /// `PartialObjectMetadataList`, of a list.
    MetadataList,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) media: Media,
    pub(crate) view: View,
    pub(crate) pretty: bool,
    /// The table or metadata is wanted as `meta.k8s.io/v1beta1`.
    pub(crate) beta: bool,
    /// The JSON of the answer is kept beside it, for the audit log.
    pub(crate) keep: bool,
}

impl Output {
    pub(crate) const JSON: Self =
        Self { media: Media::Json, view: View::Object, pretty: false, beta: false, keep: false };

    /// The group and version of the table or metadata.
    pub(crate) const fn meta_version(self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }
}

/// What an endpoint has to offer. Upstream: `EndpointRestrictions` and the serializers of a `RequestScope`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Tables and bare metadata.
    pub(crate) views: bool,
    /// The objects themselves have a protobuf form.
    pub(crate) protobuf: bool,
    /// A watch: frames instead of a document.
    pub(crate) stream: bool,
}

impl Offer {
    /// Documents that are no objects of a kind: a Status, discovery, a review.
    pub(crate) const PLAIN: Self = Self { views: false, protobuf: true, stream: false };

    fn not_acceptable(self) -> ApiError {
        ApiError::not_acceptable(match (self.stream, self.protobuf) {
            (false, true) => &ACCEPTED,
            (false, false) => &ACCEPTED_CUSTOM,
            (true, true) => &ACCEPTED_STREAMS,
            (true, false) => &ACCEPTED_STREAMS_CUSTOM,
        })
    }
}

/// One clause of an `Accept` header.
#[derive(Debug)]
pub(crate) struct Clause<'a> {
    pub(crate) media: &'a str,
    pub(crate) parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

impl<'a> Clause<'a> {
    fn parse(clause: &'a str) -> Option<Self> {
        let mut parts = clause.trim().split(';');
        let media = parts.next().unwrap_or_default().trim();
        let media = match media.split_once('/') {
            None if media == "*" => "*/*",
            Some((_, sub)) if !sub.is_empty() && !sub.contains('/') => media,
            _ => return None,
        };
        let mut parsed = Self { media, parameters: Vec::new(), quality: 1.0 };
        for part in parts {
            let Some((key, value)) = part.split_once('=').filter(|(_, value)| !value.is_empty()) else { continue };
            if value.contains('=') {
                continue;
            }
            if key.trim() == "q" {
                parsed.quality = value.parse().unwrap_or(0.0);
            } else {
                parsed.parameters.push((key.trim(), value.trim()));
            }
        }
        Some(parsed)
    }

    fn goes_before(&self, other: &Self) -> bool {
        let wild = |clause: &Self| (clause.media.starts_with("*/"), clause.media.ends_with("/*"));
        let ((any, any_sub), (other_any, other_any_sub)) = (wild(self), wild(other));
        self.quality > other.quality || !any && other_any || !any_sub && other_any_sub
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        // Of two of the same name the last one counts.
        self.parameters.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// The clauses in the order in which upstream tries them (`goautoneg.ParseAccept`), its oddities included: a clause
/// without a slash is dropped unless it is `*`, a quality that is no number is 0, and 0 is no refusal.
pub(crate) fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').take(MAX_CLAUSES).filter_map(Clause::parse).collect();
    // Not an order: a wildcard comes after what is named also where its quality is better. What comes out depends on
    // how it is sorted, so it is done as upstream's library does it for as many clauses as clients send.
    for end in 1..clauses.len() {
        for at in (1..=end).rev() {
            if !clauses[at].goes_before(&clauses[at - 1]) {
                break;
            }
            clauses.swap(at, at - 1);
        }
    }
    clauses
}

/// The first header: upstream looks at no further one.
pub(crate) fn accept(headers: &HeaderMap) -> &str {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn media_of(name: &str, offer: Offer) -> Option<Media> {
    match name {
        JSON | "*/*" | "application/*" => Some(Media::Json),
        YAML => Some(Media::Yaml),
        PROTOBUF => Some(Media::Protobuf),
        CBOR => Some(Media::Cbor),
        CBOR_SEQUENCE if offer.stream => Some(Media::Cbor),
        _ => None,
    }
}

/// The representation the client likes best of those there are.
pub(crate) fn negotiate(headers: &HeaderMap, pretty: bool, offer: Offer) -> Result<Output, ApiError> {
    let accept = accept(headers);
    if accept.is_empty() {
        return Ok(Output { pretty, ..Output::JSON });
    }
    let found = clauses(accept).into_iter().find_map(|clause| acceptable(&clause, offer));
    match found {
        // Frames of a watch have no YAML form.
        Some(output) if offer.stream && output.media == Media::Yaml => Err(offer.not_acceptable()),
        Some(output) => Ok(Output { pretty: pretty || output.pretty, ..output }),
        None => Err(offer.not_acceptable()),
    }
}

fn acceptable(clause: &Clause<'_>, offer: Offer) -> Option<Output> {
    let media = media_of(clause.media, offer)?;
    if clause.get("stream").is_some_and(|stream| stream != "watch" || media == Media::Yaml) {
        return None;
    }
    if clause.get("sv").is_some_and(|version| !offer.views || version != "v1") {
        return None;
    }
    let (kind, group, version) = (clause.get("as"), clause.get("g"), clause.get("v"));
    let transformed = kind.is_some() || group.is_some() || version.is_some();
    let view = if transformed {
        let known = group == Some("meta.k8s.io") && matches!(version, Some("v1" | "v1beta1"));
        match kind {
            // A table has no protobuf message.
            Some("Table") if offer.views && known && media != Media::Protobuf => View::Table,
            Some("PartialObjectMetadata") if offer.views && known => View::Metadata,
            Some("PartialObjectMetadataList") if offer.views && known => View::MetadataList,
            _ => return None,
        }
    } else if media == Media::Protobuf && !offer.protobuf {
        return None;
    } else {
        View::Object
    };
    let pretty = clause.get("pretty") == Some("1");
    Some(Output { media, view, pretty, beta: transformed && version == Some("v1beta1"), keep: false })
}

/// For documents that are no objects of a kind.
pub(crate) fn output(headers: &HeaderMap, pretty: bool) -> Result<Output, ApiError> {
    negotiate(headers, pretty || is_for_people(headers), Offer::PLAIN)
}

/// Whether indented JSON is wanted: by the `pretty` parameter, or by a client that people read from.
pub(crate) fn is_pretty(headers: &HeaderMap, parameter: &str) -> bool {
    match parameter {
        "" => is_for_people(headers),
        // Go's `strconv.ParseBool`.
        text => matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True"),
    }
}

fn is_for_people(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).map(http::HeaderValue::as_bytes).unwrap_or_default();
    [b"curl".as_slice(), b"Wget", b"Mozilla/5.0"].iter().any(|prefix| agent.starts_with(prefix))
}

/// The media type of a body; nothing said is JSON.
pub(crate) fn input(headers: &HeaderMap) -> Result<Media, ApiError> {
    // A compressed body is none of these: upstream decodes none, and a small one could be a large one.
    let encoding = headers.get(header::CONTENT_ENCODING).map(http::HeaderValue::as_bytes).unwrap_or(b"identity");
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity") {
        return Err(ApiError::unsupported_media_type(&ACCEPTED));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE).filter(|value| !value.is_empty()) else {
        return Ok(Media::Json);
    };
    match value.to_str().ok().and_then(media_type).as_deref() {
        Some(JSON) => Ok(Media::Json),
        Some(YAML) => Ok(Media::Yaml),
        Some(PROTOBUF) => Ok(Media::Protobuf),
        Some(CBOR) => Ok(Media::Cbor),
        _ => Err(ApiError::unsupported_media_type(&ACCEPTED)),
    }
}

/// As [`input`], of a body that may have no protobuf form: then that is no media type either.
pub(crate) fn input_of(headers: &HeaderMap, protobuf: bool) -> Result<Media, ApiError> {
    match input(headers) {
        Ok(Media::Protobuf) | Err(_) if !protobuf => Err(ApiError::unsupported_media_type(&ACCEPTED_CUSTOM)),
        other => other,
    }
}

/// The bare media type of the request's body, whatever its parameters are like.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The bare media type of a well-formed value, as Go's `mime.ParseMediaType` reads it.
fn media_type(value: &str) -> Option<String> {
    let (name, mut rest) = value.split_once(';').unwrap_or((value, ""));
    let name = name.trim().to_ascii_lowercase();
    let mut seen = Vec::new();
    while !rest.trim_start().is_empty() {
        let (key, after) = rest.trim_start().split_once('=')?;
        let key = key.trim_end().to_ascii_lowercase();
        let after = after.trim_start();
        rest = match after.strip_prefix('"') {
            Some(quoted) => &quoted[end_of_quoted(quoted)?..],
            None => {
                let end = after.find(|c| !is_token(c)).unwrap_or(after.len());
                after.get(end..).filter(|_| end > 0)?
            }
        }
        .trim_start();
        let is_sound = !key.is_empty() && key.chars().all(is_token) && !seen.contains(&key);
        if !is_sound {
            return None;
        }
        seen.push(key);
        rest = match rest {
            "" => "",
            more => more.strip_prefix(';')?,
        };
    }
    Some(name)
}

/// Behind the quote that ends it.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn is_token(c: char) -> bool {
    c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { views: true, protobuf: true, stream: false };

    fn of(accept: &str, offer: Offer) -> Result<Output, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        negotiate(&headers, false, offer)
    }

    #[test]
    fn the_best_known_clause_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        let media = |accept: &str| of(accept, ALL).unwrap().media;
        assert_eq!(of(table, ALL).unwrap().view, View::Table);
        assert_eq!(of(table, Offer::PLAIN).unwrap().view, View::Object);
        assert!(of("application/yaml;as=Table;v=v1beta1;g=meta.k8s.io", ALL).unwrap().beta);
        let fallback = "application/json;as=Nonsense;v=v1;g=meta.k8s.io, application/json";
        assert_eq!(of(fallback, ALL).unwrap().view, View::Object);
        assert_eq!(media("application/vnd.kubernetes.protobuf,application/json"), Media::Protobuf);
        assert_eq!(media("application/json;q=0.1, application/yaml"), Media::Yaml);
        assert_eq!(media("*/*, application/cbor"), Media::Cbor);
        for (accept, wanted) in [
            // A wildcard does not come before what is named, however good it is.
            ("*/*;q=1, application/yaml;q=0.5", Media::Yaml),
            ("application/*, application/yaml;q=0.5", Media::Yaml),
            // No number is 0, and 0 is still taken when there is nothing else.
            ("application/yaml;q=high, application/json;q=0.1", Media::Json),
            ("application/yaml;q= 1, application/json;q=0.1", Media::Json),
            ("application/yaml;q=0", Media::Yaml),
            ("text/html, application/xhtml+xml, */*;q=0.8", Media::Json),
            ("*", Media::Json),
            ("application/*", Media::Json),
            // What is not known of a clause is passed over.
            ("application/yaml;charset=utf-8;foo=bar;level", Media::Yaml),
            ("application/json;stream=, application/yaml;q=0.9", Media::Json),
            ("json, application/yaml;q=0.1", Media::Yaml),
            ("application/json/x, application/yaml", Media::Yaml),
        ] {
            assert_eq!(media(accept), wanted, "{accept}");
        }
        for accept in [
            "text/*",
            "Application/JSON",
            "application",
            "json",
            ";",
            "application/json;stream=x",
            "application/json;as=Table",
        ] {
            assert_eq!(of(accept, ALL).unwrap_err().code, 406, "{accept}");
        }
        assert_eq!(of("application/json;sv=v1", ALL).unwrap().view, View::Object);
        assert_eq!(of("application/json;sv=v1", Offer::PLAIN).unwrap_err().code, 406);
        assert_eq!(media("application/json;sv=v2, application/yaml"), Media::Yaml);
        assert_eq!(of("*/*", ALL).unwrap(), Output::JSON);
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let wanted = Output { media: Media::Protobuf, view: View::MetadataList, ..Output::JSON };
        assert_eq!(of(partial, ALL).unwrap(), wanted);
        // Metadata has a protobuf form even where the objects have none.
        assert_eq!(of(partial, Offer { protobuf: false, ..ALL }).unwrap(), wanted);
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        let message = |accept: &str, offer| of(accept, offer).unwrap_err().message;
        assert_eq!(
            message("text/html", ALL),
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/cbor"
        );
        assert_eq!(
            message("application/vnd.kubernetes.protobuf", Offer { protobuf: false, ..ALL }),
            "only the following media types are accepted: application/json, application/yaml, application/cbor"
        );
        let stream = Offer { stream: true, ..ALL };
        assert_eq!(
            message("application/yaml", stream),
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch, application/cbor-seq"
        );
        assert_eq!(of("application/cbor-seq", stream).unwrap().media, Media::Cbor);
        assert_eq!(of("application/json;stream=watch", stream).unwrap().media, Media::Json);
        assert_eq!(of("application/cbor-seq", ALL).unwrap_err().code, 406);
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
        assert_eq!(of(table, ALL).unwrap_err().code, 406);
    }

    #[test]
    fn bodies_say_what_they_are() {
        let input = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            super::input(&headers).ok()
        };
        for (value, media) in [
            ("", Some(Media::Json)),
            ("application/json", Some(Media::Json)),
            ("Application/JSON; charset=utf-8", Some(Media::Json)),
            ("application/yaml ; a=\"b;c\\\"\" ;", Some(Media::Yaml)),
            ("application/json; charset", None),
            ("application/json; =utf-8", None),
            ("application/json; a=1; a=2", None),
            ("application/json; a=\"", None),
            ("application/json; a=1 b=2", None),
            ("text/plain", None),
            ("application/vnd.kubernetes.protobuf", Some(Media::Protobuf)),
            ("application/cbor", Some(Media::Cbor)),
        ] {
            assert_eq!(input(value), media, "{value}");
        }
    }

    #[test]
    fn people_get_indented_json() {
        let mut headers = HeaderMap::new();
        assert!(!is_pretty(&headers, "") && is_pretty(&headers, "true") && !is_pretty(&headers, "yes"));
        headers.insert(header::USER_AGENT, "curl/8.5.0".parse().unwrap());
        assert!(is_pretty(&headers, "") && !is_pretty(&headers, "false"));
    }

    proptest::proptest! {
        #[test]
        fn any_accept_header_is_survived(text in "[ -~]{0,200}") {
            if let Err(error) = of(&text, ALL) {
                proptest::prop_assert_eq!(error.code, 406);
            }
        }
    }
}
