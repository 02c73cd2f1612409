//! Runs one probe once. When to run it and what its result means is the machine's business (`pod::probe`).
//! Upstream: pkg/kubelet/prober/prober.go, pkg/probe/*, whose messages these are.

mod grpc;
pub(crate) mod http;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::pod::Outcome;

/// Most of a command's output that an event shows.
const MAX_OUTPUT: usize = 10 * 1024;

/// Runs the probe against a container of a pod with that address.
pub(crate) async fn run(
    runtime: &dyn cri::RuntimeService,
    probe: &Probe,
    container: &Container,
    container_id: &str,
    pod_ip: Option<&str>,
) -> Outcome {
    let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1));
    if let Some(action) = &probe.exec {
        return exec(runtime, container_id, action.command.as_deref().unwrap_or_default(), timeout).await;
    }
    if let Some(action) = &probe.http_get {
        let port = match resolve_port(&action.port, container) {
            Ok(port) => port,
            Err(error) => return Outcome::Errored(error),
        };
        let host = action.host.as_deref().filter(|host| !host.is_empty()).or(pod_ip).unwrap_or_default();
        let headers =
            action.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone())).collect();
        let request = http::Get {
            tls: action.scheme.as_deref() == Some("HTTPS"),
            host: host.to_owned(),
            port,
            path: action.path.clone().unwrap_or_else(|| "/".to_owned()),
            headers,
        };
        return http::probe(&request, timeout).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let port = match resolve_port(&action.port, container) {
            Ok(port) => port,
            Err(error) => return Outcome::Errored(error),
        };
        let host = action.host.as_deref().filter(|host| !host.is_empty()).or(pod_ip).unwrap_or_default();
        return match connect(host, port, timeout).await {
            Ok(_) => Outcome::Success,
            Err(error) => Outcome::Failure(error),
        };
    }
    if let Some(action) = &probe.grpc {
        let Ok(port) = u16::try_from(action.port) else {
            return Outcome::Errored(format!("invalid port number: {}", action.port));
        };
        let service = action.service.as_deref().unwrap_or_default();
        return grpc::probe(pod_ip.unwrap_or_default(), port, service, timeout).await;
    }
    Outcome::Errored("missing probe handler".to_owned())
}

async fn exec(runtime: &dyn cri::RuntimeService, id: &str, command: &[String], timeout: Duration) -> Outcome {
    match runtime.exec_sync(id, command, Some(timeout)).await {
        Ok(result) => {
            let mut output = result.stdout;
            output.extend_from_slice(&result.stderr);
            output.truncate(MAX_OUTPUT);
            if result.exit_code == 0 {
                Outcome::Success
            } else {
                Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
            }
        }
        Err(cri::CriError::DeadlineExceeded(_)) => Outcome::Failure(format!(
            "command timed out: {:?} timed out after {}s",
            command.join(" "),
            timeout.as_secs()
        )),
        Err(error) => Outcome::Errored(error.to_string()),
    }
}

/// A port by number, or by the name of one of the container's ports.
pub(crate) fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match name.parse() {
            Ok(number) => number,
            Err(_) => container
                .ports
                .iter()
                .flatten()
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.container_port)
                .ok_or_else(|| format!("port {name} not found"))?,
        },
    };
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Connects, with Go's words when it fails.
pub(super) async fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let connecting = async {
        match host.parse::<IpAddr>() {
            Ok(ip) => TcpStream::connect(SocketAddr::new(ip, port)).await,
            Err(_) => TcpStream::connect((host, port)).await,
        }
    };
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("dial tcp {shown}: {}", dial_error(&error))),
        Err(_) => Err(format!("dial tcp {shown}: i/o timeout")),
    }
}

fn dial_error(error: &std::io::Error) -> String {
    use nix::errno::Errno;
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => "connect: connection refused".to_owned(),
        Some(Errno::EHOSTUNREACH) => "connect: no route to host".to_owned(),
        Some(Errno::ENETUNREACH) => "connect: network is unreachable".to_owned(),
        Some(Errno::ECONNRESET) => "read: connection reset by peer".to_owned(),
        Some(Errno::ETIMEDOUT) => "connect: connection timed out".to_owned(),
        Some(errno) => format!("connect: {}", errno.desc().to_lowercase()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn answering(answer: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let supervisor = supervisor::Supervisor::new();
        supervisor
            .spawn_guarded("answer", async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut buffer = [0; 1024];
                    let _count = stream.read(&mut buffer).await;
                    let _done = stream.write_all(answer.as_bytes()).await;
                }
            })
            .detach();
        port
    }

    async fn get(port: u16) -> Outcome {
        let request = http::Get {
            tls: false,
            host: "127.0.0.1".to_owned(),
            port,
            path: "/x?y=1".to_owned(),
            headers: Vec::new(),
        };
        http::probe(&request, Duration::from_secs(2)).await
    }

    #[tokio::test]
    async fn http_statuses() {
        let ok = answering("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(get(ok).await, Outcome::Success);
        let failing = answering("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(get(failing).await, Outcome::Failure("HTTP probe failed with statuscode: 500".to_owned()));
        let moved = answering("HTTP/1.1 302 Found\r\nlocation: http://example.com/\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(get(moved).await, Outcome::Warning(_)));
    }

    #[tokio::test]
    async fn refused_connections_are_told_as_upstream_does() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let text = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(connect("127.0.0.1", port, Duration::from_secs(1)).await.unwrap_err(), text);
        assert_eq!(get(port).await, Outcome::Failure(format!("Get \"http://127.0.0.1:{port}/x?y=1\": {text}")));
    }

    #[test]
    fn ports_by_name() {
        let container: Container =
            serde_json::from_value(serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 80}]}))
                .unwrap();
        assert_eq!(resolve_port(&IntOrString::String("web".to_owned()), &container), Ok(80));
        assert_eq!(resolve_port(&IntOrString::Int(0), &container), Err("invalid port number: 0".to_owned()));
        assert!(resolve_port(&IntOrString::String("no".to_owned()), &container).is_err());
    }
}
