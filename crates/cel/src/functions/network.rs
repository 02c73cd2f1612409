//! Addresses and networks. Zones and IPv4-mapped IPv6 addresses are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Args, Out};
use crate::{
    error::EvalError,
    value::{Cidr, Opaque, Value},
};

/// Why a text is no address, in the words of Go's `netip`.
fn go_reason(text: &str) -> String {
    let quoted = format!("{text:?}");
    for char in text.chars() {
        match char {
            '.' => return format!("ParseAddr({quoted}): {}", v4_reason(text)),
            ':' => return format!("ParseAddr({quoted}): unexpected character"),
            '%' => return format!("ParseAddr({quoted}): missing IPv6 address"),
            _ => {}
        }
    }
    format!("ParseAddr({quoted}): unable to parse IP")
}

fn v4_reason(text: &str) -> &'static str {
    if text.chars().any(|char| !char.is_ascii_digit() && char != '.') {
        return "unexpected character";
    }
    let parts: Vec<&str> = text.split('.').collect();
    for part in &parts {
        if part.len() > 1 && part.starts_with('0') {
            return "IPv4 field has octet with leading zero";
        }
        if part.parse::<u32>().is_ok_and(|value| value > 255) {
            return "IPv4 field has value >255";
        }
        if part.is_empty() {
            return "IPv4 field must have at least one digit";
        }
    }
    if parts.len() < 4 { "IPv4 address too short" } else { "IPv4 address too long" }
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    if let Some((address, zone)) = text.split_once('%')
        && !zone.is_empty()
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(EvalError::text(format!("IP address {text:?} with zone value is not allowed")));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            Err(EvalError::text(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        Ok(address) => Ok(address),
        Err(_) => {
            let reason = go_reason(text);
            Err(EvalError::text(format!("IP Address {text:?} parse error during conversion from string: {reason}")))
        }
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, EvalError> {
    const CONTEXT: &str = "network address parse error during conversion from string: ";
    let fail = |reason: String| EvalError::text(format!("{CONTEXT}{CONTEXT}netip.ParsePrefix({text:?}): {reason}"));
    let Some((address, bits)) = text.rsplit_once('/') else { return Err(fail("no '/'".to_owned())) };
    if address.contains('%') {
        return Err(fail("IPv6 zones cannot be present in a prefix".to_owned()));
    }
    let parsed = address.parse::<IpAddr>().map_err(|_| fail(go_reason(address)))?;
    if let IpAddr::V6(v6) = parsed
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(EvalError::text(format!("{CONTEXT}IPv4-mapped IPv6 address {text:?} is not allowed")));
    }
    let plain =
        !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    let max = if parsed.is_ipv4() { 32 } else { 128 };
    match bits.parse::<u8>() {
        Ok(bits) if plain && bits <= max => Ok(Cidr { address: parsed, bits }),
        Err(_) if !plain => Err(fail(format!("bad bits after slash: {bits:?}"))),
        _ => Err(fail("prefix length out of range".to_owned())),
    }
}

fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

fn covers(cidr: &Cidr, address: IpAddr) -> bool {
    cidr.address.is_ipv4() == address.is_ipv4() && mask(cidr.address, cidr.bits) == mask(address, cidr.bits)
}

fn address(args: &Args<'_, '_>, index: usize) -> Result<IpAddr, EvalError> {
    match args.opaque(index)? {
        Opaque::Ip(address) => Ok(*address),
        _ => Err(args.mismatch()),
    }
}

fn network(args: &Args<'_, '_>, index: usize) -> Result<Cidr, EvalError> {
    match args.opaque(index)? {
        Opaque::Cidr(cidr) => Ok(*cidr),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn ip<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let address = match args.get(0) {
        Value::String(text) => parse_ip(text)?,
        _ => network(args, 0)?.address,
    };
    Ok(Value::opaque(Opaque::Ip(address)))
}

pub(super) fn cidr<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::opaque(Opaque::Cidr(parse_cidr(&args.string(0)?)?)))
}

pub(super) fn is_ip<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(parse_ip(&args.string(0)?).is_ok()))
}

pub(super) fn is_cidr<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(parse_cidr(&args.string(0)?).is_ok()))
}

pub(super) fn is_canonical<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let text = args.string(0)?;
    Ok(Value::Bool(parse_ip(&text)?.to_string() == *text))
}

pub(super) fn family<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Int(if address(args, 0)?.is_ipv4() { 4 } else { 6 }))
}

pub(super) fn is_unspecified<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(address(args, 0)?.is_unspecified()))
}

pub(super) fn is_loopback<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(address(args, 0)?.is_loopback()))
}

pub(super) fn is_link_local_multicast<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(match address(args, 0)? {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }))
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

pub(super) fn is_link_local_unicast<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(link_local(address(args, 0)?)))
}

/// Go's sense: not unspecified, broadcast, loopback, multicast or link-local.
pub(super) fn is_global_unicast<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let address = address(args, 0)?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let global = !(broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || link_local(address));
    Ok(Value::Bool(global))
}

pub(super) fn contains_ip<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let other = match args.get(1) {
        Value::String(text) => parse_ip(text)?,
        _ => address(args, 1)?,
    };
    Ok(Value::Bool(covers(&network(args, 0)?, other)))
}

pub(super) fn contains_cidr<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let other = match args.get(1) {
        Value::String(text) => parse_cidr(text)?,
        _ => network(args, 1)?,
    };
    let outer = network(args, 0)?;
    Ok(Value::Bool(outer.bits <= other.bits && covers(&outer, other.address)))
}

pub(super) fn prefix_length<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Int(network(args, 0)?.bits.into()))
}

pub(super) fn masked<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let cidr = network(args, 0)?;
    Ok(Value::opaque(Opaque::Cidr(Cidr { address: mask(cidr.address, cidr.bits), ..cidr })))
}
