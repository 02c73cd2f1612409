//! A small HTTP server for demos and tests: it answers with its host name, environment and the request.
//!
//! `GET /hostname`, `GET /env/NAME`, `GET /healthz`, anything else a summary. The port is `$PORT` or 8080. After
//! SIGTERM it finishes what it has begun and exits 0. It serves tests, not the public. Compiled on its own by the build
//! script, with the standard library only.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(10);
const MAX_REQUEST: u64 = 1 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "tiphys-echo: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    signals::block();
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = TcpListener::bind(SocketAddr::from(([0_u16; 8], port)))
        .or_else(|_| TcpListener::bind(SocketAddr::from(([0_u8; 4], port))))?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    let busy = Arc::new(AtomicUsize::new(0));
    let draining = Arc::new(AtomicBool::new(false));
    let (accept_busy, accept_draining) = (Arc::clone(&busy), Arc::clone(&draining));
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let (busy, draining) = (Arc::clone(&accept_busy), Arc::clone(&accept_draining));
            std::thread::spawn(move || drop(serve(&connection, &busy, &draining)));
        }
    });
    signals::wait();
    draining.store(true, Ordering::SeqCst);
    let end = Instant::now() + DRAIN;
    while busy.load(Ordering::SeqCst) > 0 && Instant::now() < end {
        std::thread::yield_now();
    }
    Ok(())
}

fn serve(connection: &TcpStream, busy: &AtomicUsize, draining: &AtomicBool) -> io::Result<()> {
    connection.set_read_timeout(Some(IDLE))?;
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    loop {
        let mut line = String::new();
        if (&mut reader).take(MAX_REQUEST).read_line(&mut line)? == 0 {
            return Ok(());
        }
        busy.fetch_add(1, Ordering::SeqCst);
        let result = answer(&line, &mut reader, connection, draining);
        busy.fetch_sub(1, Ordering::SeqCst);
        if !result? {
            return Ok(());
        }
    }
}

/// Answers one request; whether the connection stays open.
fn answer(
    request_line: &str,
    reader: &mut BufReader<&TcpStream>,
    mut connection: &TcpStream,
    draining: &AtomicBool,
) -> io::Result<bool> {
    let mut words = request_line.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or("/"));
    let mut keep = words.next() == Some("HTTP/1.1");
    let (mut headers, mut length) = (String::new(), 0_u64);
    loop {
        let mut line = String::new();
        if reader.take(MAX_REQUEST).read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "connection" => keep = keep && !value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        headers.push_str(&line);
    }
    io::copy(&mut reader.take(length.min(MAX_REQUEST)), &mut io::sink())?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned();
    let (status, body) = match path.split('?').next().unwrap_or("/") {
        "/hostname" => ("200 OK", format!("{hostname}\n")),
        "/healthz" => ("200 OK", "ok\n".to_owned()),
        path => match path.strip_prefix("/env/") {
            Some(name) => match std::env::var(name) {
                Ok(value) => ("200 OK", format!("{value}\n")),
                Err(_) => ("404 Not Found", format!("{name} is not set\n")),
            },
            None => ("200 OK", summary(&hostname, connection, request_line, &headers)),
        },
    };
    keep = keep && !draining.load(Ordering::SeqCst);
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n",
        body.len(),
        if keep { "keep-alive" } else { "close" },
    );
    if method != "HEAD" {
        response.push_str(&body);
    }
    connection.write_all(response.as_bytes())?;
    Ok(keep)
}

fn summary(hostname: &str, connection: &TcpStream, request_line: &str, headers: &str) -> String {
    let mut text = format!("hostname: {hostname}\n");
    if let (Ok(peer), Ok(local)) = (connection.peer_addr(), connection.local_addr()) {
        text += &format!("client: {peer}\nserver: {local}\n");
    }
    text += &format!("\n{}\n{headers}\n", request_line.trim_end());
    let mut environment: Vec<_> = std::env::vars_os().collect();
    environment.sort();
    for (name, value) in environment {
        text += &format!("{}={}\n", name.to_string_lossy(), value.to_string_lossy());
    }
    text
}

/// As process 1 of a container it only gets the signals it asks for.
mod signals {
    const TERM_AND_INT: [u64; 16] = {
        let mut set = [0; 16];
        set[0] = 1 << (15 - 1) | 1 << (2 - 1);
        set
    };
    const SIG_BLOCK: i32 = 0;

    unsafe extern "C" {
        fn sigprocmask(how: i32, set: *const u64, old: *mut u64) -> i32;
        fn sigwait(set: *const u64, signal: *mut i32) -> i32;
    }

    /// To be called before any thread exists: threads inherit what is blocked.
    pub(crate) fn block() {
        // SAFETY: the set has the C library's size.
        unsafe { sigprocmask(SIG_BLOCK, TERM_AND_INT.as_ptr(), std::ptr::null_mut()) };
    }

    pub(crate) fn wait() {
        let mut signal = 0;
        // SAFETY: the set has the C library's size and `signal` is a place for an integer.
        unsafe { sigwait(TERM_AND_INT.as_ptr(), &mut signal) };
    }
}
