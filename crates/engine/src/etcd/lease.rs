//! Leases for what goes by itself, shared by many objects: one lease for each would be more work for etcd than the
//! objects are. Upstream: `etcd3/lease_manager.go`.

use std::collections::HashMap;
use std::time::Duration;

use grpc::{Channel, GrpcError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::etcd::messages::{LEASE_GRANT, LeaseGrantRequest, LeaseGrantResponse};

/// So many objects share a lease.
const OBJECTS: u32 = 1000;
/// For so long at most, and for a twentieth of the lifetime: objects live so much longer than they were asked to.
const REUSE: Duration = Duration::from_secs(60);

/// By lifetime.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<Duration, Lease>>);

struct Lease {
    id: i64,
    until: Instant,
    objects: u32,
}

// === impl Leases ===

impl Leases {
    /// The id of a lease that lasts so long at least.
    pub(super) async fn lease(&self, channel: &Channel, lifetime: Duration) -> Result<i64, GrpcError> {
        let mut leases = self.0.lock().await;
        if let Some(lease) = leases.get_mut(&lifetime)
            && lease.until > Instant::now()
            && lease.objects < OBJECTS
        {
            lease.objects += 1;
            return Ok(lease.id);
        }
        let reuse = REUSE.min(Duration::from_secs(lifetime.as_secs().div_ceil(20)));
        let until = Instant::now() + reuse;
        let ttl = i64::try_from((lifetime + reuse).as_secs()).unwrap_or(i64::MAX).max(1);
        let granted: LeaseGrantResponse = channel.unary(LEASE_GRANT, &LeaseGrantRequest { ttl }).await?;
        leases.insert(lifetime, Lease { id: granted.id, until, objects: 1 });
        Ok(granted.id)
    }

    /// etcd does not know one of them any more.
    pub(super) fn forget(&self) {
        // Should it be locked, then a new one is on its way already.
        if let Ok(mut leases) = self.0.try_lock() {
            leases.clear();
        }
    }
}
