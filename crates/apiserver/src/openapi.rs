//! OpenAPI documents, made on first demand. Upstream: `k8s.io/kube-openapi/pkg/handler` and `handler3`.

use apimachinery::ApiError;

use crate::{
    respond::{self, Answer},
    server::{ApiServer, Call},
};

#[derive(Default)]
pub(crate) struct OpenApi {}

impl OpenApi {
    pub(crate) fn v2(&self, _server: &ApiServer, _call: &Call) -> Result<Answer, ApiError> {
        Ok(respond::not_found())
    }

    pub(crate) fn v3(&self, _server: &ApiServer, _call: &Call, _path: &str) -> Result<Answer, ApiError> {
        Ok(respond::not_found())
    }
}

/// A short name for a document's contents.
pub(crate) fn fingerprint(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().to_uppercase()
}
