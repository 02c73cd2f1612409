//! Authorization checks: builders of questions, and the questions themselves.

use apimachinery::names;

use super::{Args, Out};
use crate::{
    error::EvalError,
    value::{Checked, Opaque, PathCheck, ResourceCheck, Value},
};

pub(super) fn path<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let path = args.string(1)?;
    match args.opaque(0)? {
        Opaque::Authorizer(authorizer) => {
            if path.trim().is_empty() {
                return Err(EvalError::new("path must not be empty"));
            }
            Ok(Value::opaque(Opaque::PathCheck(authorizer.clone(), path.to_string())))
        }
        _ => Err(args.mismatch()),
    }
}

pub(super) fn group<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let group = args.string(1)?;
    match args.opaque(0)? {
        Opaque::Authorizer(authorizer) => Ok(Value::opaque(Opaque::GroupCheck(authorizer.clone(), group.to_string()))),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn service_account<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let (namespace, name) = (args.string(1)?, args.string(2)?);
    let Opaque::Authorizer(authorizer) = args.opaque(0)? else { return Err(args.mismatch()) };
    if !names::subdomain_name(&name, false).is_empty() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !names::label_name(&namespace, false).is_empty() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let mut authorizer = authorizer.clone();
    authorizer.service_account = Some((namespace.to_string(), name.to_string()));
    Ok(Value::opaque(Opaque::Authorizer(authorizer)))
}

pub(super) fn resource<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let resource = args.string(1)?;
    let Opaque::GroupCheck(authorizer, group) = args.opaque(0)? else { return Err(args.mismatch()) };
    if resource.trim().is_empty() {
        return Err(EvalError::new("resource must not be empty"));
    }
    let check = ResourceCheck { group: group.clone(), resource: resource.to_string(), ..ResourceCheck::default() };
    Ok(Value::opaque(Opaque::ResourceCheck(authorizer.clone(), check)))
}

fn refine<'a>(args: &Args<'a, '_>, set: fn(&mut ResourceCheck, String)) -> Out<'a> {
    let text = args.string(1)?;
    let Opaque::ResourceCheck(authorizer, check) = args.opaque(0)? else { return Err(args.mismatch()) };
    let mut check = check.clone();
    set(&mut check, text.to_string());
    Ok(Value::opaque(Opaque::ResourceCheck(authorizer.clone(), check)))
}

pub(super) fn subresource<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    refine(args, |check, text| check.subresource = text)
}

pub(super) fn namespace<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    refine(args, |check, text| check.namespace = text)
}

pub(super) fn name<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    refine(args, |check, text| check.name = text)
}

pub(super) fn field_selector<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    refine(args, |check, text| check.field_selector = text)
}

pub(super) fn label_selector<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    refine(args, |check, text| check.label_selector = text)
}

pub(super) fn check<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    let verb = args.string(1)?;
    let answer = match args.opaque(0)? {
        Opaque::PathCheck(authorizer, path) => {
            authorizer.authorizer.check_path(authorizer.account(), &PathCheck { path, verb: &verb })
        }
        Opaque::ResourceCheck(authorizer, check) => {
            authorizer.authorizer.check_resource(authorizer.account(), check, &verb)
        }
        _ => return Err(args.mismatch()),
    };
    Ok(Value::opaque(Opaque::Decision(answer)))
}

fn decision<'x>(args: &'x Args<'_, '_>) -> Result<&'x Checked, EvalError> {
    match args.opaque(0)? {
        Opaque::Decision(answer) => Ok(answer),
        _ => Err(args.mismatch()),
    }
}

pub(super) fn allowed<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(decision(args)?.allowed))
}

pub(super) fn reason<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(decision(args)?.reason.as_str()))
}

pub(super) fn errored<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::Bool(decision(args)?.error.is_some()))
}

pub(super) fn error<'a>(args: &mut Args<'a, '_>) -> Out<'a> {
    Ok(Value::string(decision(args)?.error.as_deref().unwrap_or_default()))
}
