//! Requests to an address, one after the other, each over a connection of its own, until told to stop.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Longer than any answer takes; well below what hides a lost packet's retransmission.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two requests of one client: two cores are to be left for those who answer.
const PACE: Duration = Duration::from_millis(4);

pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

// === impl Traffic ===

impl Traffic {
    /// One client for each address.
    pub(crate) fn start(addresses: &[SocketAddr]) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |address: &SocketAddr| {
            let (address, stop, answered) = (*address, stop.clone(), answered.clone());
            std::thread::spawn(move || ask_until(address, &stop, &answered))
        };
        let clients = addresses.iter().map(client).collect();
        Self { stop, answered, clients }
    }

    /// Waits until so many more were answered, by all clients together.
    pub(crate) fn flow(&self, more: usize) {
        let (begun, before) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        while self.answered.load(Ordering::Relaxed) < before + more {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody answers");
            std::thread::sleep(PACE);
        }
    }

    /// How many were answered, and what went wrong.
    pub(crate) fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter().flat_map(|client| client.join().expect("a client"));
        let failures = failures.collect();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

fn ask_until(address: SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) -> Vec<String> {
    let (begun, mut failures) = (Instant::now(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        match ask(address) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") && answer.contains("</html>") => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => failures.push(format!("{address} after {:?}: {answer}", begun.elapsed())),
            Err(error) => failures.push(format!("{address} after {:?}: {error}", begun.elapsed())),
        }
        std::thread::sleep(PACE);
    }
    failures
}

/// One request.
pub(crate) fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
