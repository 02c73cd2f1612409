//! Deletes the links of pods that are gone, many at a time, off everybody's way.
//!
//! The kernel takes some 30 ms for a link, nearly all of it waiting for a grace period, and hardly more for a hundred
//! deleted together. Nobody has to wait for it: the pod's address is not given again soon, and what a killed process
//! leaves is swept at the next start.

use std::io;

use netlink::socket::Requests;
use netlink::{Protocol, Socket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// The hand of the thread; it ends, with all it was told done, when this is dropped. Bounded by the pods of a node.
#[derive(Debug)]
pub(super) struct Reaper {
    jobs: UnboundedSender<Job>,
}

#[derive(Debug)]
enum Job {
    Delete(String),
    Tell(oneshot::Sender<()>),
}

/// Jobs taken at once.
const TOGETHER: usize = 256;

impl Reaper {
    /// Starts the thread in the calling thread's network namespace.
    pub(super) fn start(group: u32) -> io::Result<Self> {
        let (jobs, receiver) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        std::thread::Builder::new()
            .name("link-reaper".to_owned())
            .spawn(move || runtime.block_on(run(receiver, group)))?;
        Ok(Self { jobs })
    }

    pub(super) fn delete(&self, name: String) {
        if self.jobs.send(Job::Delete(name)).is_err() {
            tracing::warn!("the thread that deletes links has ended");
        }
    }

    /// Ends when everything told before is done.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let (tell, told) = oneshot::channel();
        let sent = self.jobs.send(Job::Tell(tell)).is_ok();
        async move {
            // An error is a thread that has ended: there is nothing left to wait for.
            if sent && told.await.is_err() {
                tracing::warn!("the thread that deletes links has ended");
            }
        }
    }
}

async fn run(mut jobs: UnboundedReceiver<Job>, group: u32) {
    let mut socket = match Socket::open(Protocol::Route) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "cannot delete links");
            return;
        }
    };
    let mut together = Vec::new();
    while jobs.recv_many(&mut together, TOGETHER).await > 0 {
        // Links that are put in one group are deleted by one request.
        let mut requests = Requests::new();
        let mut waiting = Vec::new();
        for job in together.drain(..) {
            match job {
                Job::Delete(name) => requests.set_group(&name, group),
                Job::Tell(waiter) => waiting.push(waiter),
            }
        }
        if !requests.is_empty() {
            requests.delete_group(group);
        }
        match socket.run(requests).await {
            // Gone with its namespace before we came.
            Err(error) if !error.is_not_found() => tracing::warn!(%error, "could not delete links of gone pods"),
            _ => {}
        }
        for waiter in waiting {
            if waiter.send(()).is_err() {
                tracing::debug!("nobody waits any more for links to be deleted");
            }
        }
    }
}
