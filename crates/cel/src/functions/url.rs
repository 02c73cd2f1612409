//! URLs, as Go's `net/url` reads them: `ParseRequestURI` for what is accepted, `Parse` for the parts.

use super::{Args, Out};
use crate::{
    error::EvalError,
    value::{Map, Opaque, Str, Value},
};

#[derive(Clone, Debug)]
pub struct Url {
    pub(crate) text: String,
    scheme: String,
    /// With the port.
    host: String,
    /// As it is written.
    path: String,
    query: String,
}

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for Url {}

impl Url {
    /// An absolute URL or an absolute path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // What a request may be is judged with the fragment as part of the rest.
        Self::parts(text).map_err(|reason| format!("parse {text:?}: {reason}"))?;
        let plain = text.split('#').next().unwrap_or_default();
        let mut url = Self::parts(plain).map_err(|reason| format!("parse {text:?}: {reason}"))?;
        text.clone_into(&mut url.text);
        Ok(url)
    }

    fn parts(text: &str) -> Result<Self, String> {
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if text.is_empty() {
            return Err("empty url".to_owned());
        }
        let mut url = Self {
            text: text.to_owned(),
            scheme: String::new(),
            host: String::new(),
            path: String::new(),
            query: String::new(),
        };
        if text == "*" {
            text.clone_into(&mut url.path);
            return Ok(url);
        }
        let (scheme, rest) = scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        query.clone_into(&mut url.query);
        if !rest.starts_with('/') {
            if url.scheme.is_empty() {
                return Err("invalid URI for request".to_owned());
            }
            return Ok(url);
        }
        let path = match rest.strip_prefix("//") {
            Some(after) if !rest.starts_with("///") || !url.scheme.is_empty() => {
                let (authority, path) = match after.find('/') {
                    Some(at) => after.split_at(at),
                    None => (after, ""),
                };
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                url.host = parse_host(host)?;
                path
            }
            _ => rest,
        };
        check_escapes(path)?;
        path.clone_into(&mut url.path);
        Ok(url)
    }

    fn hostname(&self) -> &str {
        let host = match self.host.rfind(':') {
            Some(at) if valid_port(&self.host[at..]) => &self.host[..at],
            _ => &self.host,
        };
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    fn port(&self) -> &str {
        match self.host.rfind(':') {
            Some(at) if valid_port(&self.host[at..]) && !self.host[at..].contains(']') => &self.host[at + 1..],
            _ => "",
        }
    }

    fn escaped_path(&self) -> String {
        let as_is = self.path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]%/".contains(&b));
        if as_is {
            return self.path.clone();
        }
        let mut out = String::with_capacity(self.path.len());
        for byte in unescape(&self.path, false).unwrap_or_default() {
            if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    }

    fn query(&self) -> Vec<(String, Vec<String>)> {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for pair in self.query.split('&') {
            if pair.is_empty() || pair.contains(';') {
                continue;
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (text(key), text(value)) else { continue };
            match found.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) => values.push(value),
                None => found.push((key, vec![value])),
            }
        }
        found
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' => {
                if at == 0 {
                    return Ok(("", text));
                }
            }
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

fn valid_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

fn parse_host(host: &str) -> Result<String, String> {
    let port = if host.starts_with('[') {
        let Some(end) = host.rfind(']') else { return Err("missing ']' in host".to_owned()) };
        &host[end + 1..]
    } else {
        host.find(':').map_or("", |at| &host[at..])
    };
    if !valid_port(port) {
        return Err(format!("invalid port {port:?} after host"));
    }
    check_escapes(host)?;
    let bad =
        host.chars().find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_.~!$&'()*+,;=:[]<>\"%".contains(*c));
    if let Some(bad) = bad {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    Ok(unescape(host, false).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| host.to_owned()))
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let part: String = text[at..].chars().take(3).collect();
        if part.len() < 3 || !part[1..].bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("invalid URL escape {part:?}"));
        }
    }
    Ok(())
}

fn unescape(text: &str, plus: bool) -> Option<Vec<u8>> {
    check_escapes(text).ok()?;
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let value = digit()? * 16 + digit()?;
                out.push(u8::try_from(value).ok()?);
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    Some(out)
}

fn text(escaped: &str) -> Option<String> {
    unescape(escaped, true).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn get<'x>(args: &'x Args<'_, '_>) -> Result<&'x Url, EvalError> {
    match args.opaque(0)? {
        Opaque::Url(url) => Ok(url),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn url<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let parsed = Url::parse(&args.string(0)?);
    parsed
        .map(|url| Value::opaque(Opaque::Url(url)))
        .map_err(|error| EvalError::text(format!("URL parse error during conversion from string: {error}")))
}

pub(super) fn is_url<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(Url::parse(&args.string(0)?).is_ok()))
}

pub(super) fn get_scheme<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(get(args)?.scheme.as_str()))
}

pub(super) fn get_host<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(get(args)?.host.as_str()))
}

pub(super) fn get_hostname<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(get(args)?.hostname()))
}

pub(super) fn get_port<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(get(args)?.port()))
}

pub(super) fn get_escaped_path<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(get(args)?.escaped_path()))
}

pub(super) fn get_query<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let query = get(args)?.query();
    let entries = query
        .into_iter()
        .map(|(key, values)| (Str::Shared(key.into()), Value::list(values.into_iter().map(Value::string).collect())));
    Ok(Value::Map(entries.collect::<Map<'_>>()))
}
