//! Remembers for some seconds who a token stood for, where finding out takes a call or much arithmetic. The same token is
//! asked about once at a time. Upstream: `k8s.io/apiserver/pkg/authentication/token/cache`.

use std::{sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use registry::auth::{AuthenticationError, TokenIdentity};
use tokio::sync::Mutex;

use super::TokenAuthenticator;
use crate::cache::{Digest, ExpiringMap};

/// Upstream's `TokenSuccessCacheTTL`.
const SUCCESS: Duration = Duration::from_secs(10);
const MAX_ENTRIES: usize = 16_384;
/// Questions about different tokens share a lock only by chance.
const STRIPES: usize = 64;

/// Another authenticator, with a memory.
pub struct CachedTokens {
    inner: Arc<dyn TokenAuthenticator>,
    lifetime: Duration,
    known: ExpiringMap<Option<TokenIdentity>>,
    asking: Vec<Mutex<()>>,
}

impl CachedTokens {
    /// Remembers for ten seconds.
    pub fn new(inner: Arc<dyn TokenAuthenticator>) -> Self {
        Self::lasting(inner, SUCCESS)
    }

    pub fn lasting(inner: Arc<dyn TokenAuthenticator>, lifetime: Duration) -> Self {
        let asking = (0..STRIPES).map(|_| Mutex::new(())).collect();
        Self { inner, lifetime, known: ExpiringMap::new(MAX_ENTRIES), asking }
    }

    /// Forgets everything, when what it asks has changed.
    pub fn clear(&self) {
        self.known.clear();
    }
}

impl TokenAuthenticator for CachedTokens {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>> {
        async move {
            let parts: Vec<&[u8]> =
                std::iter::once(token.as_bytes()).chain(audiences.iter().map(String::as_bytes)).collect();
            let digest = Digest::of(&parts);
            if let Some(known) = self.known.get(&digest) {
                return Ok(known);
            }
            let _asking = self.asking[digest.stripe(STRIPES)].lock().await;
            if let Some(known) = self.known.get(&digest) {
                return Ok(known);
            }
            let found = self.inner.authenticate(token, audiences).await?;
            if found.is_some() {
                self.known.insert(digest, found.clone(), self.lifetime);
            }
            Ok(found)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::{join_all, ready};
    use registry::UserInfo;

    use super::*;

    struct Counting(AtomicUsize);

    impl TokenAuthenticator for Counting {
        fn authenticate<'a>(
            &'a self,
            token: &'a str,
            _: &'a [String],
        ) -> BoxFuture<'a, Result<Option<TokenIdentity>, AuthenticationError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let identity = TokenIdentity { user: UserInfo::new("a", ["g"]), audiences: Vec::new() };
            async move {
                tokio::task::yield_now().await;
                ready(Ok((token == "good").then_some(identity))).await
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn a_good_token_is_asked_about_once() {
        let counting = Arc::new(Counting(AtomicUsize::new(0)));
        let cached = CachedTokens::new(counting.clone());
        let answers = join_all((0..20).map(|_| cached.authenticate("good", &[]))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_some()));
        assert_eq!(counting.0.load(Ordering::Relaxed), 1);
        cached.authenticate("good", &["other".to_owned()]).await.unwrap();
        assert_eq!(counting.0.load(Ordering::Relaxed), 2, "for other audiences it is another question");
        for _ in 0..2 {
            assert!(cached.authenticate("bad", &[]).await.unwrap().is_none());
        }
        assert_eq!(counting.0.load(Ordering::Relaxed), 4, "a refusal is not remembered");
    }
}
