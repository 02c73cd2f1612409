//! Files that tell clients where the cluster is and who they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

/// What a kubeconfig says. Names are printed quoted, so that any text is safe in them.
#[derive(Clone)]
pub struct Kubeconfig {
    /// Name of cluster, user and context.
    pub name: String,
    /// `https://127.0.0.1:6443`
    pub server: String,
    /// The cluster's authority, PEM.
    pub authority: String,
    /// The client's certificate, PEM.
    pub certificate: String,
    /// The client's key, PEM.
    pub key: String,
}

impl Kubeconfig {
    /// The file's text.
    pub fn to_yaml(&self) -> String {
        let encode = |text: &str| STANDARD.encode(text);
        let Self { name, server, .. } = self;
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {}\nusers:\n- name: {name}\n  user:\n    client-certificate-data: {}\n    \
             client-key-data: {}\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\n\
             current-context: {name}\n",
            encode(&self.authority),
            encode(&self.certificate),
            encode(&self.key),
            name = json!(name),
            server = json!(server),
        )
    }
}
