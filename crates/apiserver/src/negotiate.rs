//! Media types: what the client sends and what it wants back. Upstream: `endpoints/handlers/negotiation`.

use http::{HeaderMap, header};

use apimachinery::ApiError;

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const ACCEPTED: [&str; 3] = [JSON, YAML, PROTOBUF];
/// Longest `Accept` header that is looked at, in clauses.
const MAX_CLAUSES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
}

/// What an object is turned into before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Object,
    Table,
    /// `PartialObjectMetadata` and its list.
    Metadata,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) media: Media,
    pub(crate) view: View,
    pub(crate) pretty: bool,
}

impl Output {
    pub(crate) const JSON: Self = Self { media: Media::Json, view: View::Object, pretty: false };
}

/// One clause of an `Accept` header.
#[derive(Debug)]
pub(crate) struct Clause<'a> {
    pub(crate) media: &'a str,
    pub(crate) parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// The clauses, best first.
pub(crate) fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .take(MAX_CLAUSES)
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().filter(|media| !media.is_empty())?;
            let mut quality = 1.0;
            let mut parameters = Vec::new();
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                if key == "q" {
                    quality = value.parse().unwrap_or(1.0);
                } else {
                    parameters.push((key, value.trim_matches('"')));
                }
            }
            Some(Clause { media, parameters, quality })
        })
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

pub(crate) fn accept(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

fn media_of(name: &str) -> Option<Media> {
    match name {
        JSON | "*/*" | "application/*" => Some(Media::Json),
        YAML => Some(Media::Yaml),
        PROTOBUF => Some(Media::Protobuf),
        _ => None,
    }
}

/// The representation the client likes best of those there are. Tables exist for resources only.
pub(crate) fn output(headers: &HeaderMap, pretty: bool) -> Result<Output, ApiError> {
    let accept = accept(headers);
    if accept.trim().is_empty() {
        return Ok(Output { pretty, ..Output::JSON });
    }
    for clause in clauses(&accept) {
        let Some(media) = media_of(clause.media) else { continue };
        let group_version = (clause.get("g"), clause.get("v"));
        let meta = matches!(group_version, (Some("meta.k8s.io"), Some("v1" | "v1beta1")));
        let view = match clause.get("as") {
            None => View::Object,
            Some("Table") if meta && media != Media::Protobuf => View::Table,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta => View::Metadata,
            Some(_) => continue,
        };
        let pretty = pretty || clause.get("pretty").is_some_and(|value| value != "0" && value != "false");
        return Ok(Output { media, view, pretty });
    }
    Err(ApiError::not_acceptable(&ACCEPTED))
}

/// The media type of a body; nothing said is JSON.
pub(crate) fn input(headers: &HeaderMap) -> Result<Media, ApiError> {
    let name = content_type(headers);
    match name.as_str() {
        "" | JSON => Ok(Media::Json),
        YAML => Ok(Media::Yaml),
        PROTOBUF => Ok(Media::Protobuf),
        _ => Err(ApiError::unsupported_media_type(&ACCEPTED)),
    }
}

/// The bare media type of the request's body.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Result<Output, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        output(&headers, false).map_err(|error| error.code)
    }

    #[test]
    fn the_best_known_clause_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(of(table).unwrap().view, View::Table);
        assert_eq!(of("application/json;as=Nonsense;v=v1;g=meta.k8s.io, application/json").unwrap().view, View::Object);
        assert_eq!(of("application/vnd.kubernetes.protobuf,application/json").unwrap().media, Media::Protobuf);
        assert_eq!(of("application/json;q=0.1, application/yaml").unwrap().media, Media::Yaml);
        assert_eq!(of("*/*").unwrap(), Output::JSON);
        assert_eq!(of("text/html"), Err(406));
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(of(partial).unwrap(), Output { media: Media::Protobuf, view: View::Metadata, pretty: false });
    }

    proptest::proptest! {
        #[test]
        fn any_accept_header_is_survived(text in "[ -~]{0,200}") {
            if let Err(code) = of(&text) {
                proptest::prop_assert_eq!(code, 406);
            }
        }
    }
}
