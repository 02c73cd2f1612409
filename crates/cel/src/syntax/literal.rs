//! What literals mean. Upstream: `cel-go/parser/unescape.go`.

const BAD: &str = "unable to unescape string";
const BAD_OCTAL: &str = "unable to unescape octal sequence in string";

/// The text of a string token, prefix and quotes included.
pub(crate) fn string(token: &str) -> Result<String, &'static str> {
    let (body, raw) = unquote(token)?;
    if raw || !body.contains('\\') {
        return Ok(body);
    }
    let mut out = String::with_capacity(body.len());
    unescape(&body, false, |unit| match unit {
        Unit::Char(char) => out.push(char),
        Unit::Byte(byte) => out.push(char::from(byte)),
    })?;
    Ok(out)
}

/// The bytes of a bytes token without its `b`.
pub(crate) fn bytes(token: &str) -> Result<Vec<u8>, &'static str> {
    let (body, raw) = unquote(token)?;
    if raw || !body.contains('\\') {
        return Ok(body.into_bytes());
    }
    let mut out = Vec::with_capacity(body.len());
    unescape(&body, true, |unit| match unit {
        Unit::Char(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        Unit::Byte(byte) => out.push(byte),
    })?;
    Ok(out)
}

enum Unit {
    Char(char),
    Byte(u8),
}

fn unquote(token: &str) -> Result<(String, bool), &'static str> {
    let raw = token.starts_with(['r', 'R']);
    let quoted = if raw { &token[1..] } else { token };
    let quote = quoted.chars().next().ok_or(BAD)?;
    let length = if quoted.len() >= 6 && quoted.chars().take(3).all(|c| c == quote) { 3 } else { 1 };
    let body = quoted.get(length..quoted.len().saturating_sub(length)).ok_or(BAD)?;
    Ok((body.replace("\r\n", "\n").replace('\r', "\n"), raw))
}

fn unescape(body: &str, in_bytes: bool, mut emit: impl FnMut(Unit)) -> Result<(), &'static str> {
    let mut rest = body;
    while let Some(char) = rest.chars().next() {
        rest = &rest[char.len_utf8()..];
        if char != '\\' {
            emit(Unit::Char(char));
            continue;
        }
        let code = rest.chars().next().ok_or(BAD)?;
        rest = &rest[code.len_utf8()..];
        let simple = match code {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' | '`' | '?' => code,
            'x' | 'X' | 'u' | 'U' => {
                let digits = match code {
                    'u' => 4,
                    'U' => 8,
                    _ => 2,
                };
                if in_bytes && digits != 2 {
                    return Err(BAD);
                }
                let hex = rest.get(..digits).ok_or(BAD)?;
                rest = &rest[digits..];
                let value = u32::from_str_radix(hex, 16).map_err(|_| BAD)?;
                emit(unit(value, in_bytes)?);
                continue;
            }
            '0'..='3' => {
                let octal = rest.get(..2).ok_or(BAD_OCTAL)?;
                rest = &rest[2..];
                let low = u32::from_str_radix(octal, 8).map_err(|_| BAD_OCTAL)?;
                emit(unit(code.to_digit(8).unwrap_or(0) * 64 + low, in_bytes)?);
                continue;
            }
            _ => return Err(BAD),
        };
        emit(Unit::Char(simple));
    }
    Ok(())
}

fn unit(value: u32, in_bytes: bool) -> Result<Unit, &'static str> {
    if in_bytes {
        return u8::try_from(value).map(Unit::Byte).map_err(|_| BAD);
    }
    char::from_u32(value).map(Unit::Char).ok_or("invalid unicode code point")
}
