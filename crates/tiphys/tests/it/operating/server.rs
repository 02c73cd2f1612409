//! Servers outside of the cluster, with a certificate of an authority of their own or without TLS.

use std::{convert::Infallible, path::Path, sync::Arc};

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use pki::{Authority, CertificateSpec, ServingIdentity};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// Path, headers and body, to code and body.
type Handler = dyn Fn(&str, &HeaderMap, &[u8]) -> (u16, String) + Send + Sync;

/// Ends when it is dropped.
pub(super) struct Server {
    pub(super) port: u16,
    /// PEM.
    pub(super) authority: String,
    pub(super) directory: TempDir,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn https(
        handler: impl Fn(&str, &HeaderMap, &[u8]) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let authority = Authority::open(directory.path(), "ca", "outside").expect("an authority");
        let spec = CertificateSpec::server("outside", vec!["localhost".into()], vec![[127, 0, 0, 1].into()]);
        let (certificate, key) = authority.issue("outside", &spec).expect("a certificate");
        let identity = ServingIdentity::new(&certificate, &key).expect("an identity");
        let tls = pki::server_config(identity, None).expect("TLS settings");
        let pem = authority.certificate().to_owned();
        Self::serve(Arc::new(handler), Some(TlsAcceptor::from(Arc::new(tls))), pem, directory).await
    }

    pub(super) async fn http(
        handler: impl Fn(&str, &HeaderMap, &[u8]) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        Self::serve(Arc::new(handler), None, String::new(), directory).await
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own server has no supervisor")]
    async fn serve(handler: Arc<Handler>, tls: Option<TlsAcceptor>, authority: String, directory: TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, tls) = (handler.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            connection(stream, handler).await;
                        }
                        None => connection(stream, handler).await,
                    }
                });
            }
        });
        Self { port, authority, directory, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// A kubeconfig that names a path of this server, with these fields of a user.
    pub(super) fn kubeconfig(&self, name: &str, path: &str, user: &Value) -> std::path::PathBuf {
        let file = self.directory.path().join(name);
        let authority = self.directory.path().join("bundle.crt");
        std::fs::write(&authority, &self.authority).expect("write");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "a", "cluster": {"server": self.url(path), "certificate-authority": authority}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": "u"}}],
        });
        std::fs::write(&file, text.to_string()).expect("write");
        file
    }

    pub(super) fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, handler: Arc<Handler>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let (mut head, body) = request.into_parts();
            // HTTP/2 says it in the URI.
            if let Some(authority) = head.uri.authority().and_then(|authority| authority.as_str().parse().ok()) {
                head.headers.entry("host").or_insert(authority);
            }
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let (code, text) = handler(head.uri.path(), &head.headers, &body);
            let mut response = Response::new(Full::<bytes::Bytes>::from(text));
            *response.status_mut() = code.try_into().expect("a status");
            Ok::<_, Infallible>(response)
        }
    });
    let served = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    drop(served);
}

/// A path as a flag has it.
pub(super) fn text(path: &Path) -> String {
    path.to_str().expect("a path of letters").to_owned()
}
