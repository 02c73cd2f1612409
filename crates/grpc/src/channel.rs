//! One connection at a time to one of several endpoints, made when it is needed, and made anew elsewhere when it fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use prost::Message;
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::call::{self, Receiver, Sender};
use crate::connect::Endpoint;
use crate::error::GrpcError;

/// How a channel behaves.
#[derive(Clone)]
pub struct Options {
    /// For endpoints with `https`.
    pub tls: Option<Arc<ClientConfig>>,
    /// Of a unary call, connecting included.
    pub deadline: Duration,
    /// Of one message that is received, in bytes.
    pub message_bytes: usize,
}

/// To a service that several endpoints offer alike. A clone shares the connection.
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

struct Inner {
    endpoints: Vec<Endpoint>,
    options: Options,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    connection: Option<Connection>,
    /// Which endpoint is next.
    next: usize,
}

struct Connection {
    send: SendRequest<Bytes>,
    endpoint: usize,
    /// The driver ends with the connection's last user.
    _driver: JoinSet<()>,
}

// === impl Channel ===

impl Channel {
    #[must_use]
    pub fn new(endpoints: Vec<Endpoint>, options: Options) -> Channel {
        Channel { inner: Arc::new(Inner { endpoints, options, line: Mutex::default() }) }
    }

    /// One question, one answer. `path` is `/package.Service/Method`.
    pub async fn unary<A: Message + Default>(&self, path: &str, question: &impl Message) -> Result<A, GrpcError> {
        let message = call::frame(question);
        let answered = tokio::time::timeout(self.inner.options.deadline, async {
            let (send, endpoint) = self.line().await?;
            let deadline = Some(self.inner.options.deadline);
            let limit = self.inner.options.message_bytes;
            let (mut sender, mut receiver) =
                call::start(send, &self.inner.endpoints[endpoint], (path, &[]), deadline, limit).await?;
            sender.send_frame(message, true).await?;
            receiver.single().await
        });
        let answer = answered.await.unwrap_or(Err(GrpcError::Deadline));
        if matches!(&answer, Err(error) if error.is_of_endpoint()) {
            self.forget().await;
        }
        Ok(A::decode(answer?)?)
    }

    /// A stream in both directions. It may end at any time; who reads from it opens another one then.
    pub async fn stream(&self, path: &str) -> Result<(Sender, Receiver), GrpcError> {
        self.stream_with(path, &[]).await
    }

    /// As [`Channel::stream`], with metadata.
    pub async fn stream_with(
        &self,
        path: &str,
        metadata: &[(&'static str, &'static str)],
    ) -> Result<(Sender, Receiver), GrpcError> {
        let (send, endpoint) = self.line().await?;
        let limit = self.inner.options.message_bytes;
        let started = call::start(send, &self.inner.endpoints[endpoint], (path, metadata), None, limit).await;
        if started.is_err() {
            self.forget().await;
        }
        started
    }

    /// The next call goes over another connection, to another endpoint where there are several.
    pub async fn forget(&self) {
        let mut line = self.inner.line.lock().await;
        if let Some(mut connection) = line.connection.take() {
            line.next = connection.endpoint + 1;
            // What others have under way on it goes on until it ends by itself.
            connection._driver.detach_all();
        }
    }

    async fn line(&self) -> Result<(SendRequest<Bytes>, usize), GrpcError> {
        let mut line = self.inner.line.lock().await;
        if let Some(connection) = &line.connection
            && let Ok(send) = connection.send.clone().ready().await
        {
            return Ok((send, connection.endpoint));
        }
        line.connection = None;
        let mut failed = None;
        for _ in 0..self.inner.endpoints.len().max(1) {
            let at = line.next % self.inner.endpoints.len().max(1);
            let Some(endpoint) = self.inner.endpoints.get(at) else { break };
            match endpoint.connect(self.inner.options.tls.as_ref()).await {
                Ok((send, driver)) => {
                    let mut tasks = JoinSet::new();
                    tasks.spawn(driver);
                    line.next = at;
                    line.connection = Some(Connection { send: send.clone(), endpoint: at, _driver: tasks });
                    return Ok((send, at));
                }
                Err(source) => {
                    line.next = at + 1;
                    failed = Some(GrpcError::Connect { endpoint: endpoint.authority(), source });
                }
            }
        }
        Err(failed.unwrap_or(GrpcError::Protocol("there is no endpoint")))
    }
}
