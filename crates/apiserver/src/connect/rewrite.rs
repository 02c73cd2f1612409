//! Links of a backend behind the proxy: what it says of its own places is made to lead through the proxy.
//!
//! Only what must change is changed: of a page, the values of those attributes that are links.
//! Upstream: `k8s.io/apimachinery/pkg/util/proxy.Transport`.

use std::io::{Read as _, Write as _};

use apimachinery::ApiError;
use bytes::{Bytes, BytesMut};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::body::Body;

/// Largest page that is looked through; a larger one is passed on as it is.
const MAX_PAGE: usize = 8 * 1024 * 1024;

/// Elements and those of their attributes that are links. Upstream: `atomsToAttrs`.
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];
/// Elements whose content is text, whatever it looks like.
const RAW: [&str; 5] = ["script", "style", "textarea", "title", "xmp"];

/// Knows where the proxy is and who is behind it.
#[derive(Clone, Debug)]
pub(crate) struct Rewriter {
    /// Path of the proxy, without a slash at its end.
    pub(crate) prefix: String,
    /// Path that the backend is asked for.
    pub(crate) path: String,
    /// Host and port of the backend, as links may spell them.
    pub(crate) backend: String,
    /// What the client calls the proxy.
    pub(crate) host: String,
}

impl Rewriter {
    /// Tells the backend under which path it appears.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        if let Ok(uri) = HeaderValue::try_from(format!("{}{}", self.prefix, self.path)) {
            headers.insert("x-forwarded-uri", uri);
        }
    }

    /// Rewrites where a redirect leads.
    pub(super) fn location(&self, headers: &mut HeaderMap) -> Result<(), ApiError> {
        let Some(place) = headers.get(header::LOCATION) else { return Ok(()) };
        let place = place.to_str().map_err(|_| ApiError::internal("error trying to parse Location header"))?;
        if let Some(rewritten) = self.link(place) {
            let rewritten = HeaderValue::try_from(rewritten).map_err(ApiError::internal)?;
            headers.insert(header::LOCATION, rewritten);
        }
        Ok(())
    }

    pub(super) fn is_page(&self, headers: &HeaderMap) -> bool {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        !headers.contains_key(header::LOCATION)
            && content_type.split(';').next().unwrap_or_default().trim() == "text/html"
    }

    /// The link through the proxy; none when it stays as it is: relative, of another host, or through the proxy already.
    fn link(&self, link: &str) -> Option<String> {
        if link.starts_with("//") {
            return None;
        }
        if link.starts_with('/') {
            return self.path_of(link);
        }
        let uri: Uri = link.parse().ok()?;
        let authority = uri.authority()?.as_str();
        if authority != self.backend && authority != self.host {
            return None;
        }
        let start = link.find("://")? + 3 + authority.len();
        self.absolute(link, authority, link.get(start..)?)
    }

    fn absolute(&self, link: &str, authority: &str, path: &str) -> Option<String> {
        if !path.starts_with('/') {
            return None;
        }
        if authority == self.host {
            // Of the proxy's own host: the host stays.
            let head = link.strip_suffix(path)?;
            return self.path_of(path).map(|path| format!("{head}{path}"));
        }
        Some(self.path_of(path).unwrap_or_else(|| path.to_owned()))
    }

    fn path_of(&self, path: &str) -> Option<String> {
        (!path.starts_with(&self.prefix) || self.prefix.is_empty()).then(|| format!("{}{path}", self.prefix))
    }
}

/// A page with its links rewritten.
pub(super) async fn page(rewriter: &Rewriter, headers: &mut HeaderMap, mut body: Incoming) -> Body {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Body::whole(read.freeze()) };
        let Ok(data) = frame.into_data() else { continue };
        read.extend_from_slice(&data);
        if read.len() > MAX_PAGE {
            let head =
                futures::stream::once(async move { Ok::<_, hyper::Error>(http_body::Frame::data(read.freeze())) });
            let rest = http_body_util::BodyStream::new(body);
            return Body::stream(http_body_util::StreamBody::new(futures::StreamExt::chain(head, rest)));
        }
    }
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let rewritten = match encoding {
        "" => links(rewriter, &read),
        "gzip" => gzipped(rewriter, &read).unwrap_or_else(|| read.to_vec()),
        // Nothing is known of the others: their links stay.
        _ => read.to_vec(),
    };
    headers.remove(header::CONTENT_LENGTH);
    Body::whole(Bytes::from(rewritten))
}

/// None: it is not what it says, or too much.
fn gzipped(rewriter: &Rewriter, page: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(page).take(MAX_PAGE as u64 + 1).read_to_end(&mut plain).ok()?;
    if plain.len() > MAX_PAGE {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&links(rewriter, &plain)).ok()?;
    encoder.finish().ok()
}

/// Walks over the tags of a page and replaces links. What is no tag is copied.
fn links(rewriter: &Rewriter, page: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.len() + 256);
    let mut at = 0;
    while let Some(open) = find(page, at, b"<") {
        out.extend_from_slice(&page[at..open]);
        if page[open..].starts_with(b"<!--") {
            let end = find(page, open, b"-->").map_or(page.len(), |end| end + 3);
            out.extend_from_slice(&page[open..end]);
            at = end;
            continue;
        }
        let name_end = open + 1 + page[open + 1..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if name_end == open + 1 {
            out.push(b'<');
            at = open + 1;
            continue;
        }
        let name = String::from_utf8_lossy(&page[open + 1..name_end]).to_ascii_lowercase();
        out.extend_from_slice(&page[open..name_end]);
        let attributes = LINKS.iter().find(|(element, _)| *element == name);
        let wanted = attributes.map(|(_, wanted)| *wanted).unwrap_or_default();
        at = tag(rewriter, page, name_end, wanted, &mut out);
        if RAW.contains(&name.as_str()) {
            let end = find_close(page, at, &name);
            out.extend_from_slice(&page[at..end]);
            at = end;
        }
    }
    out.extend_from_slice(&page[at..]);
    out
}

/// Copies the attributes of a tag up to and with its `>`; where it ends is given back.
fn tag(rewriter: &Rewriter, page: &[u8], mut at: usize, wanted: &[&str], out: &mut Vec<u8>) -> usize {
    loop {
        let gap = page[at..].iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'/').count();
        out.extend_from_slice(&page[at..at + gap]);
        at += gap;
        match page.get(at) {
            None => return at,
            Some(b'>') => {
                out.push(b'>');
                return at + 1;
            }
            Some(_) => {}
        }
        let is_name = |byte: &&u8| !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'>' | b'/');
        let length = page[at..].iter().take_while(is_name).count().max(1).min(page.len() - at);
        let name = String::from_utf8_lossy(&page[at..at + length]).to_ascii_lowercase();
        out.extend_from_slice(&page[at..at + length]);
        at += length;
        let space = page[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if page.get(at + space) != Some(&b'=') {
            continue;
        }
        let after = at + space + 1;
        let space = page[after..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        out.extend_from_slice(&page[at..after + space]);
        at = after + space;
        let (start, end, next) = match page.get(at) {
            Some(quote @ (b'"' | b'\'')) => {
                let end = find(page, at + 1, std::slice::from_ref(quote)).unwrap_or(page.len());
                (at + 1, end, (end + 1).min(page.len()))
            }
            _ => {
                let is_value = |byte: &&u8| !byte.is_ascii_whitespace() && **byte != b'>';
                let end = at + page[at..].iter().take_while(is_value).count();
                (at, end, end)
            }
        };
        let link = wanted.contains(&name.as_str()).then(|| std::str::from_utf8(&page[start..end]).ok()).flatten();
        match link.and_then(|link| rewriter.link(link)) {
            Some(rewritten) => {
                out.extend_from_slice(&page[at..start]);
                out.extend_from_slice(rewritten.as_bytes());
                out.extend_from_slice(&page[end..next]);
            }
            None => out.extend_from_slice(&page[at..next]),
        }
        at = next;
    }
}

fn find(page: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let rest = page.get(from..)?;
    rest.windows(what.len()).position(|window| window == what).map(|at| from + at)
}

fn find_close(page: &[u8], from: usize, name: &str) -> usize {
    let mut at = from;
    while let Some(open) = find(page, at, b"</") {
        let end = open + 2 + name.len();
        if page.get(open + 2..end).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes())) {
            return open;
        }
        at = open + 2;
    }
    page.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewriter() -> Rewriter {
        Rewriter {
            prefix: "/api/v1/namespaces/a/services/b/proxy".to_owned(),
            path: "/x/".to_owned(),
            backend: "10.0.0.1:80".to_owned(),
            host: "localhost:8001".to_owned(),
        }
    }

    #[test]
    fn links_go_through_the_proxy() {
        let check = |link: &str, expected: &str| {
            let rewriter = rewriter();
            let rewritten = rewriter.link(link).unwrap_or_else(|| link.to_owned());
            assert_eq!(rewritten.replace(&rewriter.prefix, "P"), expected, "{link}");
        };
        check("/a/", "P/a/");
        check("/a?b=c#d", "P/a?b=c#d");
        check("a/b", "a/b");
        check("", "");
        check("#x", "#x");
        check("http://10.0.0.1:80/a", "P/a");
        check("http://localhost:8001/a", "http://localhost:8001P/a");
        check("http://example.com/a", "http://example.com/a");
        check("//example.com/a", "//example.com/a");
        check("/api/v1/namespaces/a/services/b/proxy/a", "P/a");
        check("mailto:me@x", "mailto:me@x");
    }

    #[test]
    fn pages_change_only_in_their_links() {
        let check = |page: &str, expected: &str| {
            let rewriter = rewriter();
            let rewritten = String::from_utf8(links(&rewriter, page.as_bytes())).unwrap();
            assert_eq!(rewritten.replace(&rewriter.prefix, "P"), expected);
        };
        check(r#"<a href="/x" id=1>/x</a> <A HREF='/y'>"#, r#"<a href="P/x" id=1>/x</a> <A HREF='P/y'>"#);
        check("<img src=/i.png alt='a>b'/> 1 < 2", "<img src=P/i.png alt='a>b'/> 1 < 2");
        check("<!-- <a href=\"/x\"> --><p title=\"/x\">", "<!-- <a href=\"/x\"> --><p title=\"/x\">");
        check("<script src=\"/s.js\">'<a href=\"/x\">'</script>", "<script src=\"P/s.js\">'<a href=\"/x\">'</script>");
        check("<a href=\"/x", "<a href=\"P/x");
        check("<a", "<a");
        check("<link rel=x href = \"/c\">", "<link rel=x href = \"P/c\">");
    }

    proptest::proptest! {
        #[test]
        fn any_page_is_survived(page: Vec<u8>, text in "[<>a-z\"'=/! -]{0,80}") {
            links(&rewriter(), &page);
            links(&rewriter(), text.as_bytes());
            rewriter().link(&text);
        }
    }
}
