//! The server on a socket: TLS, HTTP/1.1 and HTTP/2, limits. Upstream: `server/secure_serving.go`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::Request;
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use rustls::ServerConfig;
use supervisor::Supervisor;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    metrics::TLS_ERRORS,
    server::{ApiServer, Peer},
};

/// Upstream's `MaxConcurrentStreams` default.
const MAX_STREAMS: u32 = 250;
const MAX_HEADER_BYTES: u32 = 64 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that a client may take back before they were answered, at once, and how fast that many may come again. An
/// HTTP/2 client can begin and reset requests without ever waiting (CVE-2023-44487), which a bound on how many run at
/// the same time does not see. Go's server bounds its handlers instead, which go on after a reset; here they end.
const MAX_TAKEN_BACK: u32 = 200;
const FORGIVEN_EACH: Duration = Duration::from_millis(100);
/// Slow clients may take as long for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// How long to let others finish when no connection can be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl ApiServer {
    /// Serves connections until the supervisor shuts down, then drains them.
    pub fn serve(&self, supervisor: &Supervisor, listener: TcpListener, tls: Arc<ServerConfig>) {
        let (server, acceptor, tasks) = (self.clone(), TlsAcceptor::from(tls), supervisor.clone());
        supervisor.spawn_draining("apiserver", async move {
            let graceful = GracefulShutdown::new();
            let shutdown = tasks.shutting_down();
            let mut shutdown = std::pin::pin!(shutdown);
            let mut leaving: Option<std::pin::Pin<Box<tokio::time::Sleep>>> = None;
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, address)) => {
                            let connection = connection(server.clone(), acceptor.clone(), graceful.watcher(), stream, address);
                            tasks.spawn_draining("apiserver connection", connection);
                        }
                        Err(error) => {
                            // Out of descriptors, most likely: others have to go first.
                            tracing::warn!(%error, "accept failed");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    },
                    () = &mut shutdown, if leaving.is_none() => {
                        // Load balancers get the time to hear of it, and everybody else is served as before.
                        server.begin_leaving();
                        leaving = Some(Box::pin(tokio::time::sleep(server.inner.options.shutdown_delay)));
                    }
                    () = async { match &mut leaving { Some(delay) => delay.await, None => std::future::pending().await } } => break,
                }
            }
            drop(listener);
            server.begin_shutdown();
            if tokio::time::timeout(server.inner.options.shutdown_grace, graceful.shutdown()).await.is_err() {
                tracing::warn!("connections did not end in time");
            }
        });
    }
}

async fn connection(
    server: ApiServer,
    acceptor: TlsAcceptor,
    watcher: hyper_util::server::graceful::Watcher,
    stream: TcpStream,
    address: SocketAddr,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "set nodelay");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            TLS_ERRORS.with([]).inc();
            tracing::debug!(%address, %error, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let mut peer = Peer::with_certificates(certificates.iter().map(|certificate| certificate.to_vec()).collect());
    peer.address = Some(address.ip());
    let streams = match server.inner.options.max_streams {
        0 => MAX_STREAMS,
        streams => streams,
    };
    let patience = Arc::new(Patience::default());
    let worn_out = Arc::clone(&patience);
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, peer) = (server.clone(), peer.clone());
        let unanswered = Unanswered { patience: Arc::clone(&patience), answered: false };
        async move {
            let mut unanswered = unanswered;
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            let answer = server.handle(request, peer).await;
            unanswered.answered = true;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(512 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_pending_accept_reset_streams(Some(20))
        .max_local_error_reset_streams(Some(100))
        .max_send_buf_size(256 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(15));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        ended = watcher.watch(connection) => if let Err(error) = ended {
            tracing::debug!(%address, %error, "connection ended");
        },
        () = worn_out.lost() => tracing::info!(%address, "connection closed: too many requests were taken back"),
    }
}

/// How many requests of one connection were taken back lately.
struct Patience {
    taken_back: Mutex<(u32, Instant)>,
    lost: Notify,
}

/// A request whose answer has not begun. Dropped before that, it was taken back.
struct Unanswered {
    patience: Arc<Patience>,
    answered: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self { taken_back: Mutex::new((0, Instant::now())), lost: Notify::new() }
    }
}

impl Patience {
    fn take_back(&self) {
        let mut taken_back = self.taken_back.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, since) = &mut *taken_back;
        let forgiven = u32::try_from(since.elapsed().as_millis() / FORGIVEN_EACH.as_millis()).unwrap_or(u32::MAX);
        if forgiven > 0 {
            *count = count.saturating_sub(forgiven);
            *since = Instant::now();
        }
        *count += 1;
        if *count > MAX_TAKEN_BACK {
            self.lost.notify_one();
        }
    }

    /// Returns once there were too many.
    async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.answered {
            self.patience.take_back();
        }
    }
}
