//! An HTTPS server that answers JSON.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use parking_lot::Mutex;
use pki::{Authority, CertificateSpec, ServingIdentity};
use serde_json::{Value, json};
use supervisor::Supervisor;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Handler = dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) authority: String,
    /// Paths and bodies, as they came.
    pub(crate) asked: Arc<Mutex<Vec<(String, Value)>>>,
    pub(crate) supervisor: Supervisor,
    directory: TempDir,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), "ca", "test").unwrap();
        let spec = CertificateSpec::server("x", vec!["localhost".into()], vec!["127.0.0.1".parse().unwrap()]);
        let (certificate, key) = authority.issue("x", &spec).unwrap();
        let tls = pki::server_config(ServingIdentity::new(&certificate, &key).unwrap(), None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (supervisor, asked) = (Supervisor::new(), Arc::new(Mutex::new(Vec::new())));
        let handler: Arc<Handler> = Arc::new(handler);
        let (owner, log) = (supervisor.clone(), asked.clone());
        supervisor.spawn("test server", async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, handler, log) = (acceptor.clone(), handler.clone(), log.clone());
                owner.spawn("test connection", async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (handler, log) = (handler.clone(), log.clone());
                        async move {
                            let path = request.uri().path().to_owned();
                            let sent = request.headers().get(http::header::AUTHORIZATION);
                            let sent = sent.map(|sent| json!(sent.to_str().unwrap_or_default()));
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            // Who sends no body is known by what stands for it: the credentials.
                            let body = serde_json::from_slice(&body).ok().or(sent).unwrap_or_default();
                            log.lock().push((path.clone(), body.clone()));
                            let (status, answer) = handler(&path, &body);
                            let text = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
                            let mut response = Response::new(Full::<bytes::Bytes>::from(text));
                            *response.status_mut() = status.try_into().unwrap();
                            Ok::<_, Infallible>(response)
                        }
                    });
                    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { address, authority: authority.certificate().to_owned(), asked, supervisor, directory }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.asked.lock())
    }

    /// A kubeconfig that names this server.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        let (path, ca) = (self.directory.path().join("kubeconfig"), self.directory.path().join("bundle.crt"));
        std::fs::write(&ca, &self.authority).unwrap();
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "a", "cluster": {"server": format!("{}/review", self.url()), "certificate-authority": ca}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": "u"}}],
        });
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }
}
