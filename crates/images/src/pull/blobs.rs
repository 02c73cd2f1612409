//! Fetching blobs: several at a time, each resumable and checked, each unpacked as soon as it is there.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use oci_client::client::BlobResponse;
use parking_lot::Mutex;
use serde::Deserialize;

use super::{PullError, Shared, blocking};
use crate::digest::HashingWriter;
use crate::store::{Descriptor, Ingest, append};
use crate::{Digest, Error, Reference, Result};

/// A manifest's config and layers.
#[derive(Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// The blobs of one pull.
pub(super) struct Transfer<'p> {
    pub(super) puller: &'p Shared,
    pub(super) ingest: &'p Ingest<'p>,
    pub(super) client: &'p oci_client::Client,
    pub(super) oci: &'p oci_client::Reference,
    pub(super) reference: &'p Reference,
}

/// One lock per blob being fetched: two images that share a layer fetch it once.
#[derive(Default)]
pub(super) struct Locks {
    locks: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

const ATTEMPTS: u32 = 4;

// === impl Locks ===

impl Locks {
    fn of(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        // Nobody holds a lock whose only owner is this table.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(digest.clone()).or_default())
    }
}

// === impl Transfer ===

impl Transfer<'_> {
    pub(super) async fn fetch_layers(&self, layers: &[Descriptor], diff_ids: &[Digest]) -> Result<()> {
        if layers.len() != diff_ids.len() {
            return Err(Error::document("manifest", "layers do not fit the image config"));
        }
        let mut work = Vec::with_capacity(layers.len());
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            work.push(self.fetch_layer(layer, diff_id));
        }
        futures::stream::iter(work)
            .buffer_unordered(self.puller.config.concurrent_layers.max(1))
            .try_collect::<()>()
            .await
    }

    async fn fetch_layer(&self, layer: &Descriptor, diff_id: &Digest) -> Result<()> {
        self.fetch(layer).await?;
        let (blob, diff_id) = (layer.digest.clone(), diff_id.clone());
        blocking(self.puller.store.clone(), move |store| store.ingest().unpack(&blob, &diff_id)).await
    }

    /// Brings one blob into the store unless it is there.
    pub(super) async fn fetch(&self, blob: &Descriptor) -> Result<()> {
        let lock = self.puller.blob_locks.of(&blob.digest);
        let _guard = lock.lock().await;
        if self.ingest.has_blob(&blob.digest) {
            return Ok(());
        }
        let limit = self.puller.config.max_blob;
        if blob.size > limit {
            return Err(
                PullError::copy(self.reference, format_args!("{} has more than {limit} bytes", blob.digest)).into()
            );
        }
        let path = self.ingest.partial_path(&blob.digest);
        let mut attempt = 1;
        while let Err(error) = self.receive(blob, &path).await {
            if attempt == ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
            tracing::debug!(digest = %blob.digest, attempt, error = &error as &dyn std::error::Error, "resuming a transfer");
        }
        let (expected, partial) = (blob.digest.clone(), path.clone());
        let actual = blocking(self.puller.store.clone(), move |_| hash(&partial)).await?;
        if actual != expected {
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            return Err(Error::DigestMismatch { expected: expected.to_string(), actual: actual.to_string() });
        }
        self.ingest.adopt_blob(&path, &expected)
    }

    /// Receives what is missing of a blob after what an earlier attempt left.
    async fn receive(&self, blob: &Descriptor, path: &Path) -> Result<()> {
        let mut file =
            File::options().create(true).append(true).read(true).open(path).map_err(Error::io("open", path))?;
        let mut have = file.metadata().map_err(Error::io("stat", path))?.len();
        if have > blob.size {
            file.set_len(0).map_err(Error::io("truncate", path))?;
            have = 0;
        }
        if have == blob.size {
            return Ok(());
        }
        let failed = |error| PullError::content(self.reference, &error);
        let digest = blob.digest.as_str();
        let stream = if have == 0 {
            self.client.pull_blob_stream(self.oci, digest).await.map_err(failed)?
        } else {
            match self.client.pull_blob_stream_partial(self.oci, digest, have, None).await.map_err(failed)? {
                BlobResponse::Partial(stream) => stream,
                BlobResponse::Full(stream) => {
                    file.set_len(0).map_err(Error::io("truncate", path))?;
                    have = 0;
                    stream
                }
            }
        };
        let mut stream = stream.stream;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| PullError::copy(self.reference, error))?;
            have += chunk.len() as u64;
            if have > blob.size {
                file.set_len(0).map_err(Error::io("truncate", path))?;
                return Err(PullError::copy(self.reference, format_args!("{digest} is longer than announced")).into());
            }
            // Page-cache writes of one chunk: short enough for a worker thread.
            append(&mut file, path, &chunk)?;
        }
        if have < blob.size {
            return Err(PullError::copy(self.reference, format_args!("{digest} ended after {have} bytes")).into());
        }
        Ok(())
    }
}

fn hash(path: &Path) -> Result<Digest> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    file.rewind().map_err(Error::io("seek", path))?;
    let mut writer = HashingWriter::new(io::sink());
    io::copy(&mut Read::by_ref(&mut file), &mut writer).map_err(Error::io("read", path))?;
    Ok(writer.finish().1)
}
