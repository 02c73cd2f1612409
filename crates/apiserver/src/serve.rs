//! The server on a socket: TLS, HTTP/1.1 and HTTP/2, limits. Upstream: `server/secure_serving.go`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use supervisor::Supervisor;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::TLS_ERRORS,
    server::{ApiServer, Peer},
    unread::Unread,
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
            let (open, mut closed) = mpsc::channel(1);
            let drain = Drain { begins: CancellationToken::new(), _open: open };
            let shutdown = tasks.shutting_down();
            let mut shutdown = std::pin::pin!(shutdown);
            let mut leaving: Option<std::pin::Pin<Box<tokio::time::Sleep>>> = None;
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, address)) => {
                            let connection = connection(server.clone(), acceptor.clone(), drain.clone(), stream, address);
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
                    () = async { match &mut leaving { Some(delay) => delay.await, None => std::future::pending().await } }, if !server.is_shut_down() => {
                        server.begin_shutdown();
                        if !server.inner.options.shutdown_send_retry_after {
                            break;
                        }
                    }
                    // Who still comes is told to come again, as long as others are being answered.
                    () = server.drained() => break,
                }
            }
            drop(listener);
            drain.begins.cancel();
            drop(drain);
            // Nobody sends: it ends when the last connection has gone.
            if tokio::time::timeout(server.inner.options.shutdown_grace, closed.recv()).await.is_err() {
                tracing::warn!("connections did not end in time");
            }
        });
    }
}

/// What tells connections that it is time to end, and is told when they have.
#[derive(Clone)]
struct Drain {
    begins: CancellationToken,
    _open: mpsc::Sender<()>,
}

async fn connection(server: ApiServer, acceptor: TlsAcceptor, drain: Drain, stream: TcpStream, address: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "set nodelay");
    }
    // On the heap, as everything here that is large: what one connection keeps, thousands of idle ones keep, and a
    // future keeps the room of whatever was ever in it.
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, Box::pin(acceptor.accept(stream))).await {
        Ok(Ok(stream)) => Box::new(stream),
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
    let go_away = Arc::new(Notify::new());
    let (chance, to_go) = (server.inner.options.goaway_chance, Arc::clone(&go_away));
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, peer) = (server.clone(), peer.clone());
        // So that clients of several servers do not all stay at one. Upstream: `WithProbabilisticGoaway`.
        if chance > 0.0 && request.version() == http::Version::HTTP_2 && share() < chance {
            to_go.notify_one();
        }
        let unanswered = Unanswered { patience: Arc::clone(&patience), answered: false };
        async move {
            let mut unanswered = unanswered;
            let (request, unread) = Unread::watch(request);
            let mut answer = server.handle(request, peer).await;
            unread.throw_away(&mut answer).await;
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
    let mut connection = Box::pin(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut is_leaving = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%address, %error, "connection ended");
                }
                return;
            }
            () = worn_out.lost() => {
                tracing::info!(%address, "connection closed: too many requests were taken back");
                return;
            }
            // What is under way is still answered; the client takes another connection for what comes.
            () = drain.begins.cancelled(), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = go_away.notified(), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Evenly spread from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a chance needs no more digits")]
fn share() -> f64 {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    // The lowest bits hold the version of the number, not chance.
    (high >> 16) as f64 / (1_u64 << 48) as f64
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
