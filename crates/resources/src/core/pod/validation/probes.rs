//! Validation of probes and lifecycle hooks.

use apimachinery::field::{ErrorList, Path};
use k8s_openapi::api::core::v1::{
    ExecAction, GRPCAction, HTTPGetAction, Lifecycle, LifecycleHandler, PodSpec, Probe, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::check::{self, Report};
use crate::optional::{Items, Text};

/// Liveness and startup probes: one success counts.
pub(super) fn liveness(probe: &Probe, grace: Option<i64>, path: &Path, errors: &mut ErrorList) {
    common(probe, grace, path, errors);
    let successes = probe.success_threshold.unwrap_or(0);
    if successes != 1 {
        errors.invalid(&path.child("successThreshold"), successes, "must be 1");
    }
}

pub(super) fn readiness(probe: &Probe, grace: Option<i64>, path: &Path, errors: &mut ErrorList) {
    common(probe, grace, path, errors);
    if let Some(seconds) = probe.termination_grace_period_seconds {
        let path = path.child("terminationGracePeriodSeconds");
        errors.invalid(&path, seconds, "must not be set for readinessProbes");
    }
}

fn common(probe: &Probe, grace: Option<i64>, path: &Path, errors: &mut ErrorList) {
    let handlers = Handlers {
        exec: probe.exec.as_ref(),
        http_get: probe.http_get.as_ref(),
        tcp_socket: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    };
    handlers.validate(grace, path, errors);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        check::non_negative(value.unwrap_or(0), &path.child(field), errors);
    }
    if let Some(seconds) = probe.termination_grace_period_seconds
        && seconds <= 0
    {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

pub(super) fn lifecycle(lifecycle: &Lifecycle, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let grace = spec.termination_grace_period_seconds;
    if let Some(handler) = &lifecycle.post_start {
        hook(handler, grace, &path.child("postStart"), errors);
    }
    if let Some(handler) = &lifecycle.pre_stop {
        hook(handler, grace, &path.child("preStop"), errors);
    }
    if let Some(signal) = &lifecycle.stop_signal {
        stop_signal(signal, spec, &path.child("stopSignal"), errors);
    }
}

fn hook(handler: &LifecycleHandler, grace: Option<i64>, path: &Path, errors: &mut ErrorList) {
    let handlers = Handlers {
        exec: handler.exec.as_ref(),
        http_get: handler.http_get.as_ref(),
        tcp_socket: handler.tcp_socket.as_ref(),
        grpc: None,
        sleep: handler.sleep.as_ref(),
    };
    handlers.validate(grace, path, errors);
}

struct Handlers<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl Handlers<'_> {
    /// Exactly one, and that one valid.
    fn validate(&self, grace: Option<i64>, path: &Path, errors: &mut ErrorList) {
        let mut set = [
            (self.exec.is_some(), "exec"),
            (self.http_get.is_some(), "httpGet"),
            (self.tcp_socket.is_some(), "tcpSocket"),
            (self.grpc.is_some(), "grpc"),
            (self.sleep.is_some(), "sleep"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name));
        let Some(first) = set.next() else {
            errors.required(path, "must specify a handler type");
            return;
        };
        let own = path.child(first);
        match first {
            "exec" => self.exec.iter().filter(|exec| exec.command.items().is_empty()).for_each(|_| {
                errors.required(&own.child("command"), "");
            }),
            "httpGet" => self.http_get.iter().for_each(|action| http_get(action, &own, errors)),
            "tcpSocket" => self.tcp_socket.iter().for_each(|action| {
                check::port_number_or_name(&action.port, &own.child("port"), errors);
            }),
            "grpc" => self.grpc.iter().for_each(|action| {
                check::port_number_or_name(&IntOrString::Int(action.port), &own.child("port"), errors);
            }),
            _ => self.sleep.iter().for_each(|action| sleep(action, grace, &own, errors)),
        }
        for superfluous in set {
            errors.forbidden(&path.child(superfluous), "may not specify more than 1 handler type");
        }
    }
}

fn http_get(action: &HTTPGetAction, path: &Path, errors: &mut ErrorList) {
    if action.path.text().is_empty() {
        errors.required(&path.child("path"), "");
    }
    check::port_number_or_name(&action.port, &path.child("port"), errors);
    if !matches!(action.scheme.text(), "HTTP" | "HTTPS") {
        errors.not_supported(&path.child("scheme"), action.scheme.text(), &["HTTP", "HTTPS"]);
    }
    for header in action.http_headers.items() {
        let valid = !header.name.is_empty() && header.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !valid {
            let message = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            errors.invalid(&path.child("httpHeaders"), &header.name, message);
        }
    }
}

fn sleep(action: &SleepAction, grace: Option<i64>, path: &Path, errors: &mut ErrorList) {
    // A missing grace period is an error of its own.
    if let Some(grace) = grace
        && (action.seconds < 0 || action.seconds > grace)
    {
        let message = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path, action.seconds, message);
    }
}

fn stop_signal(signal: &str, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    const LINUX: &[&str] = &[
        "SIGABRT",
        "SIGALRM",
        "SIGBUS",
        "SIGCHLD",
        "SIGCLD",
        "SIGCONT",
        "SIGFPE",
        "SIGHUP",
        "SIGILL",
        "SIGINT",
        "SIGIO",
        "SIGIOT",
        "SIGKILL",
        "SIGPIPE",
        "SIGPOLL",
        "SIGPROF",
        "SIGPWR",
        "SIGQUIT",
        "SIGRTMAX",
        "SIGRTMAX-1",
        "SIGRTMAX-10",
        "SIGRTMAX-11",
        "SIGRTMAX-12",
        "SIGRTMAX-13",
        "SIGRTMAX-14",
        "SIGRTMAX-2",
        "SIGRTMAX-3",
        "SIGRTMAX-4",
        "SIGRTMAX-5",
        "SIGRTMAX-6",
        "SIGRTMAX-7",
        "SIGRTMAX-8",
        "SIGRTMAX-9",
        "SIGRTMIN",
        "SIGRTMIN+1",
        "SIGRTMIN+10",
        "SIGRTMIN+11",
        "SIGRTMIN+12",
        "SIGRTMIN+13",
        "SIGRTMIN+14",
        "SIGRTMIN+15",
        "SIGRTMIN+2",
        "SIGRTMIN+3",
        "SIGRTMIN+4",
        "SIGRTMIN+5",
        "SIGRTMIN+6",
        "SIGRTMIN+7",
        "SIGRTMIN+8",
        "SIGRTMIN+9",
        "SIGSEGV",
        "SIGSTKFLT",
        "SIGSTOP",
        "SIGSYS",
        "SIGTERM",
        "SIGTRAP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGUSR1",
        "SIGUSR2",
        "SIGVTALRM",
        "SIGWINCH",
        "SIGXCPU",
        "SIGXFSZ",
    ];
    const WINDOWS: &[&str] = &["SIGKILL", "SIGTERM"];
    let supported = match spec.os.as_ref().map(|os| os.name.as_str()) {
        None => {
            errors.forbidden(path, "may not be set for containers with empty `spec.os.name`");
            return;
        }
        Some("windows") => WINDOWS,
        Some(_) => LINUX,
    };
    if !supported.contains(&signal) {
        errors.not_supported(path, signal, supported);
    }
}
