//! Audit: who did what and when, told to a file or a webhook as the policy says.
//!
//! Without a policy or without a place to tell, a request pays for nothing. Bodies of Secrets and tokens are never told.
//! Upstream: `endpoints/filters/audit.go`, `apiserver/pkg/audit`, `plugin/pkg/audit`.

mod event;
mod log;
mod policy;
mod webhook;

use std::{path::PathBuf, sync::Arc, time::Duration};

use apimachinery::ApiError;
use jiff::Timestamp;
use metrics::{Counter, Family, Stability};
use registry::{
    UserInfo,
    audit::{AuditTrail, Wants},
};
use serde_json::Value;
use supervisor::Supervisor;

pub use log::Rotation;

use self::{
    event::Facts,
    policy::{Level, Policy, Stage, Verdict},
};
use crate::{
    batch::{Batching, Sender},
    request_info::RequestInfo,
};

static EVENTS: Family<Counter, 0> = Family::new(
    "apiserver_audit_event_total",
    Stability::Alpha,
    "Counter of audit events generated and sent to the audit backend.",
    [],
);
static LEVELS: Family<Counter, 1> = Family::new(
    "apiserver_audit_level_total",
    Stability::Alpha,
    "Counter of policy levels for audit events (1 per request).",
    ["level"],
);
static ERRORS: Family<Counter, 1> = Family::new(
    "apiserver_audit_error_total",
    Stability::Alpha,
    "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.",
    ["plugin"],
);
static REJECTED: Family<Counter, 0> = Family::new(
    "apiserver_audit_requests_rejected_total",
    Stability::Alpha,
    "Counter of apiserver requests rejected due to an error in audit logging backend.",
    [],
);

/// What is told, and where to. Flags of upstream: `--audit-*`.
#[derive(Clone, Debug, Default)]
pub struct AuditOptions {
    /// `--audit-policy-file`. Without one nothing is told.
    pub policy_file: Option<PathBuf>,
    /// `--audit-log-path`; `-` is standard output.
    pub log_path: Option<String>,
    pub log_rotation: Rotation,
    /// `--audit-log-format=legacy`: one line of words instead of JSON.
    pub log_legacy: bool,
    /// `--audit-log-mode`.
    pub log_mode: Mode,
    pub log_batch: Batching,
    /// `--audit-log-truncate-enabled`.
    pub log_truncation: Option<Truncation>,
    /// `--audit-webhook-config-file`: a kubeconfig.
    pub webhook_config: Option<PathBuf>,
    /// `--audit-webhook-mode`.
    pub webhook_mode: Mode,
    pub webhook_batch: Batching,
    /// `--audit-webhook-initial-backoff`.
    pub webhook_backoff: Duration,
    /// `--audit-webhook-truncate-enabled`.
    pub webhook_truncation: Option<Truncation>,
}

/// How large is too large. Flags of upstream: `--audit-*-truncate-max-event-size`, `--audit-*-truncate-max-batch-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Bytes of an event; it then goes without bodies.
    pub event: usize,
    /// Bytes of events that are told together.
    pub batch: usize,
}

/// When events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Together with others, a little later.
    Batch,
    /// Before the request goes on; an error is only logged.
    #[default]
    Blocking,
    /// As blocking, and a request that cannot be told of when it comes is refused.
    BlockingStrict,
}

/// Tells of requests. A clone is a reference count.
#[derive(Clone)]
pub(crate) struct Auditor(Arc<Inner>);

struct Inner {
    policy: Policy,
    log: Option<LogSink>,
    webhook: Option<webhook::Sink>,
}

struct LogSink {
    file: Arc<log::LogFile>,
    mode: Mode,
    legacy: bool,
    truncation: Option<Truncation>,
    batch: Option<Sender>,
}

/// One request that is told of.
pub(crate) struct Record {
    auditor: Auditor,
    verdict: Verdict,
    pub(crate) trail: Arc<AuditTrail>,
    info: RequestInfo,
    uri: String,
    user: Arc<UserInfo>,
    impersonated: Option<Arc<UserInfo>>,
    /// Which right to impersonate was used; empty for the general one.
    constraint: String,
    sources: Vec<String>,
    agent: String,
    received: Timestamp,
    response: Option<(u16, Option<Value>)>,
}

/// What is known of a request before it is looked at.
pub(crate) struct Arrival<'a> {
    pub(crate) info: &'a RequestInfo,
    pub(crate) user: &'a Arc<UserInfo>,
    pub(crate) uri: &'a http::Uri,
    pub(crate) headers: &'a http::HeaderMap,
    pub(crate) address: Option<std::net::IpAddr>,
}

impl Auditor {
    /// Nothing where nothing is to be told.
    pub(crate) fn open(options: &AuditOptions, supervisor: &Supervisor) -> Result<Option<Self>, ApiError> {
        let Some(policy_file) = &options.policy_file else { return Ok(None) };
        let wrong = |what: &str, error: &dyn std::fmt::Display| ApiError::bad_request(format!("{what}: {error}"));
        let text = std::fs::read_to_string(policy_file)
            .map_err(|error| wrong(&format!("audit policy {}", policy_file.display()), &error))?;
        let policy = Policy::parse(&text)?;
        let log = match &options.log_path {
            Some(path) => {
                let file = log::LogFile::open(path, options.log_rotation)
                    .map_err(|error| wrong(&format!("audit log {path}"), &error))?;
                let file = Arc::new(file);
                let legacy = options.log_legacy;
                let batch = (options.log_mode == Mode::Batch).then(|| {
                    let file = Arc::clone(&file);
                    let batching = options.log_batch;
                    let deliver = move |events: Vec<Value>| {
                        let file = Arc::clone(&file);
                        async move { write(&file, &events, legacy) }
                    };
                    Sender::start("audit log", supervisor, batching, deliver, |lost| ERRORS.with(["log"]).add(lost))
                });
                Some(LogSink { file, mode: options.log_mode, legacy, truncation: options.log_truncation, batch })
            }
            None => None,
        };
        let webhook = match &options.webhook_config {
            Some(path) => Some(webhook::Sink::open(path, options, supervisor)?),
            None => None,
        };
        if log.is_none() && webhook.is_none() {
            return Ok(None);
        }
        Ok(Some(Self(Arc::new(Inner { policy, log, webhook }))))
    }

    /// Asks the policy. None: it is not told of.
    pub(crate) fn begin(&self, arrival: &Arrival<'_>, audit_id: String) -> Option<Record> {
        let verdict = self.0.policy.judge(arrival.info, arrival.user);
        LEVELS.with([verdict.level.as_str()]).inc();
        if verdict.level == Level::None {
            return None;
        }
        let bodies = !event::is_secret(arrival.info);
        let wants = Wants {
            annotations: true,
            request: bodies && verdict.level >= Level::Request,
            response: bodies && verdict.level >= Level::RequestResponse,
        };
        let agent = arrival.headers.get(http::header::USER_AGENT);
        Some(Record {
            auditor: self.clone(),
            verdict,
            trail: Arc::new(AuditTrail::new(audit_id, wants)),
            info: arrival.info.clone(),
            uri: arrival.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            user: Arc::clone(arrival.user),
            impersonated: None,
            constraint: String::new(),
            sources: sources(arrival),
            agent: agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default().to_owned(),
            received: Timestamp::now(),
            response: None,
        })
    }

    /// Tells everybody; those who have to be waited for are told a little later, in order.
    fn tell(&self, event: Value) -> Result<(), ApiError> {
        EVENTS.with([]).inc();
        if let Some(webhook) = &self.0.webhook
            && !webhook.send(event.clone())
        {
            ERRORS.with(["webhook"]).inc();
        }
        self.write(event)
    }

    /// Tells everybody, and returns when all have heard of it that the request has to wait for.
    async fn tell_first(&self, event: Value) -> Result<(), ApiError> {
        let Some(webhook) = self.0.webhook.as_ref().filter(|webhook| webhook.mode != Mode::Batch) else {
            return self.tell(event);
        };
        EVENTS.with([]).inc();
        let heard = webhook.deliver(event.clone()).await;
        self.write(event)?;
        match heard {
            Err(error) if webhook.mode == Mode::BlockingStrict => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self, mut event: Value) -> Result<(), ApiError> {
        let mut failed = None;
        if let Some(log) = &self.0.log {
            if let Some(truncation) = log.truncation {
                event::truncate(&mut event, truncation.event);
            }
            let told = match &log.batch {
                Some(batch) => {
                    batch.send(event).then_some(()).ok_or_else(|| ApiError::internal("audit buffer is full"))
                }
                None => write(&log.file, std::slice::from_ref(&event), log.legacy),
            };
            if let Err(error) = told {
                ERRORS.with(["log"]).inc();
                tracing::error!(%error, "audit event not written");
                failed = (log.mode == Mode::BlockingStrict).then_some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

fn write(file: &log::LogFile, events: &[Value], legacy: bool) -> Result<(), ApiError> {
    let mut lines = Vec::new();
    for event in events {
        if legacy {
            lines.extend_from_slice(legacy_line(event).as_bytes());
        } else {
            serde_json::to_writer(&mut lines, event).map_err(ApiError::internal)?;
        }
        lines.push(b'\n');
    }
    file.write(&lines).map_err(ApiError::internal)
}

/// Upstream: `audit.EventString`.
fn legacy_line(event: &Value) -> String {
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let groups: Vec<&str> =
        event["user"]["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let quoted = groups.iter().map(|group| format!("\"{group}\"")).collect::<Vec<_>>().join(",");
    let code = event["responseStatus"]["code"].as_u64().map_or("<deferred>".to_owned(), |code| code.to_string());
    format!(
        "{} AUDIT: id=\"{}\" stage=\"{}\" ip=\"{}\" method=\"{}\" user=\"{}\" groups=\"{}\" as=\"{}\" asgroups=\"<lookup>\" user-agent=\"{}\" namespace=\"{}\" uri=\"{}\" response=\"{code}\"",
        text("/stageTimestamp").unwrap_or_default(),
        text("/auditID").unwrap_or_default(),
        text("/stage").unwrap_or_default(),
        text("/sourceIPs/0").unwrap_or("<unknown>"),
        text("/verb").unwrap_or_default(),
        text("/user/username").unwrap_or("<none>"),
        if quoted.is_empty() { "<none>".to_owned() } else { quoted.replace('"', "\\\"") },
        text("/impersonatedUser/username").unwrap_or("<self>"),
        text("/userAgent").unwrap_or_default(),
        text("/objectRef/namespace").unwrap_or("<none>"),
        text("/requestURI").unwrap_or_default(),
    )
}

/// Where the request came from, through whom. Upstream: `utilnet.SourceIPs`.
fn sources(arrival: &Arrival<'_>) -> Vec<String> {
    let mut sources: Vec<String> = Vec::new();
    let header = |name: &str| arrival.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let named = header("x-forwarded-for").split(',').chain([header("x-real-ip")]);
    for text in named.map(str::trim).take(16) {
        if text.parse::<std::net::IpAddr>().is_ok() && !sources.iter().any(|known| known == text) {
            sources.push(text.to_owned());
        }
    }
    if let Some(address) = arrival.address.map(|address| address.to_canonical().to_string())
        && sources.last() != Some(&address)
    {
        sources.push(address);
    }
    sources
}

impl Record {
    /// The request has come. An error: it is to be refused.
    pub(crate) async fn received(&self) -> Result<(), ApiError> {
        let Some(event) = self.event(Stage::RequestReceived) else { return Ok(()) };
        self.auditor.tell_first(event).await.inspect_err(|_| REJECTED.with([]).inc())
    }

    /// The request is made in another's name.
    pub(crate) fn impersonate(&mut self, user: &Arc<UserInfo>, constraint: &str) {
        self.impersonated = Some(Arc::clone(user));
        constraint.clone_into(&mut self.constraint);
    }

    /// What is answered, as far as it is known: the Status of an error.
    pub(crate) fn answered(&mut self, code: u16, status: Option<Value>) {
        self.response = Some((code, status));
    }

    /// The head of a long-running request's answer is on its way.
    pub(crate) fn started(&self) {
        // An error is logged by now.
        self.stage(Stage::ResponseStarted).ok();
    }

    fn stage(&self, stage: Stage) -> Result<(), ApiError> {
        self.event(stage).map_or(Ok(()), |event| self.auditor.tell(event))
    }

    /// Nothing where the policy does not want it.
    fn event(&self, stage: Stage) -> Option<Value> {
        if self.verdict.omitted.contains(&stage) {
            return None;
        }
        let facts = Facts {
            verdict: &self.verdict,
            trail: &self.trail,
            info: &self.info,
            uri: &self.uri,
            user: &self.user,
            impersonated: self.impersonated.as_deref(),
            constraint: &self.constraint,
            sources: &self.sources,
            agent: &self.agent,
            received: self.received,
            response: self.response.clone(),
        };
        Some(event::event(&facts, stage, Timestamp::now()))
    }
}

/// The answer was sent, or its client has gone.
impl Drop for Record {
    fn drop(&mut self) {
        // An error is logged by now.
        if std::thread::panicking() {
            self.stage(Stage::Panic).ok();
        } else {
            self.stage(Stage::ResponseComplete).ok();
        }
    }
}

#[cfg(test)]
mod tests;
