//! What the rest of the node tells a pod's task. Coalesced by kind, so that its size is bounded by the pod, not by
//! how much happens.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: Mutex<Letters>,
    notify: Notify,
}

/// Everything that came since it was last emptied.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    /// The newest state of the pod in the API.
    pub pod: Option<Arc<Pod>>,
    pub gone: bool,
    /// Containers that ended; the runtime knows how.
    pub exited: BTreeSet<String>,
    /// Objects that the pod refers to have changed.
    pub objects_changed: bool,
    /// The runtime may have lost the sandbox, or events were missed: look at everything again.
    pub look_again: bool,
    pub eviction: Option<(String, String)>,
}

// === impl Mailbox ===

impl Mailbox {
    pub(crate) fn post(&self, write: impl FnOnce(&mut Letters)) {
        write(&mut self.letters.lock());
        self.notify.notify_one();
    }

    /// Waits for something and takes all there is. Only one reader.
    pub(crate) async fn take(&self) -> Letters {
        loop {
            {
                let mut letters = self.letters.lock();
                if !letters.is_empty() {
                    return std::mem::take(&mut *letters);
                }
            }
            self.notify.notified().await;
        }
    }
}

// === impl Letters ===

impl Letters {
    fn is_empty(&self) -> bool {
        let Letters { pod, gone, exited, objects_changed, look_again, eviction } = self;
        pod.is_none() && !gone && exited.is_empty() && !objects_changed && !look_again && eviction.is_none()
    }
}
