//! The image service over the image store.

use ::images::pull::PullErrorKind;
use ::images::{Credentials, Error, Reference};
use cri::{AuthConfig, CriError, CriResult, FilesystemUsage, Image, ImageService, PulledImage};

use super::{Runtime, blocking};
use crate::error::{RuntimeError, chain};

#[async_trait::async_trait]
impl ImageService for Runtime {
    async fn list_images(&self) -> CriResult<Vec<Image>> {
        Ok(self.shared.puller.store().list().iter().map(|image| describe(image)).collect())
    }

    async fn image_status(&self, image: &str) -> CriResult<Option<Image>> {
        match self.shared.puller.store().find(image) {
            Ok(image) => Ok(Some(describe(&image))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error @ (Error::InvalidReference { .. } | Error::InvalidDigest(_) | Error::Ambiguous(_))) => {
                Err(CriError::InvalidArgument(format!("failed to parse image reference {image:?}: {error}")))
            }
            Err(error) => Err(CriError::Internal(chain(&error))),
        }
    }

    async fn pull_image(&self, image: &str, auth: Option<&AuthConfig>) -> CriResult<PulledImage> {
        let reference: Reference = image
            .parse()
            .map_err(|e| CriError::InvalidArgument(format!("failed to parse image reference {image:?}: {e}")))?;
        let outcome = self.shared.puller.pull(&reference, &credentials(auth)).await.map_err(|error| match &error {
            Error::Pull(pull) => match pull.kind {
                PullErrorKind::NotFound => CriError::NotFound(pull.to_string()),
                // The events are upstream's: an unreachable registry is an ordinary failure to pull there.
                PullErrorKind::Unreachable | PullErrorKind::Denied | PullErrorKind::Failed => {
                    CriError::Internal(pull.to_string())
                }
            },
            other => {
                let name = reference.to_string();
                CriError::Internal(format!("failed to pull and unpack image {name:?}: {}", chain(other)))
            }
        })?;
        Ok(PulledImage {
            image_ref: outcome.image.id.to_string(),
            size: outcome.image.size,
            served_from_store: outcome.served_from_store,
        })
    }

    async fn remove_image(&self, image: &str) -> CriResult<()> {
        let (store, name) = (self.shared.puller.store().clone(), image.to_owned());
        let removed = blocking(move || match store.remove_image(&name) {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(RuntimeError::from(error)),
        });
        Ok(removed.await?)
    }

    async fn image_fs_info(&self) -> CriResult<FilesystemUsage> {
        let store = self.shared.puller.store().clone();
        let usage = blocking(move || {
            let usage = store.usage()?;
            Ok(FilesystemUsage {
                mountpoint: store.root().to_string_lossy().into_owned(),
                used_bytes: usage.bytes,
                inodes_used: usage.inodes,
            })
        })
        .await?;
        Ok(usage)
    }
}

fn describe(image: &::images::Image) -> Image {
    // The group is of no interest here.
    let user = image.config.user.split(':').next().unwrap_or_default();
    let uid = user.parse().ok();
    Image {
        id: image.id.to_string(),
        repo_tags: image.names.clone(),
        repo_digests: image.repo_digests.clone(),
        size: image.size,
        uid: if user.is_empty() { Some(0) } else { uid },
        username: if uid.is_none() { user.to_owned() } else { String::new() },
        pinned: image.pinned,
    }
}

fn credentials(auth: Option<&AuthConfig>) -> Credentials {
    match auth {
        Some(auth) if !auth.registry_token.is_empty() => Credentials::Bearer(auth.registry_token.clone()),
        Some(auth) if !auth.username.is_empty() => {
            Credentials::Basic { username: auth.username.clone(), password: auth.password.clone() }
        }
        _ => Credentials::Anonymous,
    }
}
