//! Files that change while the server runs: who may come and what they may do, keys of what is kept, the certificate.

use std::{path::Path, sync::atomic::Ordering};

use api::core::v1::Secret;
use kube::Api;
use serde_json::json;

use super::{ask, client_with, kms::Plugin, replace, server::text, until};
use crate::cluster::{Cluster, create, wait_for};

fn anonymous(conditions: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\nanonymous: {{enabled: true{conditions}}}\n"
    )
}

fn authorizers(kinds: &[&str]) -> String {
    let lines: String =
        kinds.iter().map(|kind| format!("- {{type: {kind}, name: {}}}\n", kind.to_lowercase())).collect();
    format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n{lines}")
}

fn encryption(providers: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n{providers}"
    )
}

/// The names of the certificate that is served.
async fn served_names(port: u16) -> Vec<u8> {
    #[derive(Debug)]
    struct Anybody(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl rustls::client::danger::ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            end_entity: &rustls::pki_types::CertificateDer<'_>,
            _: &[rustls::pki_types::CertificateDer<'_>],
            _: &rustls::pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls::pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            *self.0.lock().unwrap() = end_entity.to_vec();
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
    let seen = std::sync::Arc::default();
    let config =
        rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(std::sync::Arc::new(Anybody(std::sync::Arc::clone(&seen))))
            .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await.expect("a handshake");
    seen.lock().unwrap().clone()
}

fn contains(der: &[u8], text: &str) -> bool {
    der.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A certificate of the name, in two files.
fn issue(authority: &pki::Authority, directory: &Path, name: &str) {
    let spec = pki::CertificateSpec::server(name, vec![name.to_owned()], vec![[127, 0, 0, 1].into()]);
    let (certificate, key) = authority.issue(name, &spec).expect("a certificate");
    replace(&directory.join("serving.key"), &key);
    replace(&directory.join("serving.crt"), &certificate);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_taken_up_while_the_server_runs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = |name: &str| directory.path().join(name);
    let own = pki::Authority::open(directory.path(), "own", "own").expect("an authority");
    issue(&own, directory.path(), "first.example");
    replace(&file("authn.yaml"), &anonymous(", conditions: [{path: /livez}]"));
    replace(&file("authz.yaml"), &authorizers(&["Node", "RBAC"]));
    let first_key =
        "  - aesgcm: {keys: [{name: one, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}\n  - identity: {}\n";
    replace(&file("encryption.yaml"), &encryption(first_key));
    let plugin = Plugin::start(directory.path());
    let mut cluster = Cluster::control_plane();
    cluster.flags([
        format!("--authentication-config={}", text(&file("authn.yaml"))),
        format!("--authorization-config={}", text(&file("authz.yaml"))),
        format!("--encryption-provider-config={}", text(&file("encryption.yaml"))),
        "--encryption-provider-config-automatic-reload".to_owned(),
        format!("--tls-sni-cert-key={},{}:localhost", text(&file("serving.crt")), text(&file("serving.key"))),
    ]);
    cluster.start();
    let client = cluster.client().await;

    // Who may come without credentials.
    let nobody = client_with(&cluster, None).await;
    assert_eq!(ask(&nobody, "GET", "/livez", None).await.0, 200);
    assert_eq!(ask(&nobody, "GET", "/version", None).await.0, 401);
    replace(&file("authn.yaml"), "apiVersion: apiserver.config.k8s.io/v1\nkind: Nonsense\n");
    replace(&file("authn.yaml"), &anonymous(""));
    until("anonymous requests everywhere", || async { ask(&nobody, "GET", "/version", None).await.0 == 200 }).await;

    // What they may do.
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(ask(&nobody, "GET", maps, None).await.0, 403);
    replace(&file("authz.yaml"), &authorizers(&["Node", "RBAC", "AlwaysAllow"]));
    until("everybody may", || async { ask(&nobody, "GET", maps, None).await.0 == 200 }).await;
    replace(&file("authz.yaml"), &authorizers(&["Node", "RBAC"]));
    until("nobody may again", || async { ask(&nobody, "GET", maps, None).await.0 == 403 }).await;
    let metrics = super::ask_for_text(&client, "GET", "/metrics", None).await.2;
    for line in [
        "apiserver_authentication_config_controller_automatic_reloads_total{apiserver_id_hash=\"sha256:",
        "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds{apiserver_id_hash=\"sha256:",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }

    // With which key Secrets are kept: from now on a plugin's.
    create::<Secret>(&client, json!({"metadata": {"name": "s"}, "stringData": {"k": "hidden"}})).await;
    assert_eq!(plugin.asked.encrypt.load(Ordering::SeqCst), 0);
    let kms =
        format!("  - kms: {{apiVersion: v2, name: demo, timeout: 3s, endpoint: 'unix://{}'}}\n", text(&plugin.socket));
    replace(&file("encryption.yaml"), &encryption(&format!("{kms}{first_key}")));
    until("the plugin is asked", || async { plugin.asked.encrypt.load(Ordering::SeqCst) > 0 }).await;
    until("what was kept is written again", || async { cluster.log().contains("written again with the present key") })
        .await;
    let (code, ready) = ask(&client, "GET", "/readyz?verbose", None).await;
    assert_eq!(code, 200, "{ready}");
    // The old key is not needed any more; a restart asks the plugin for the new one.
    replace(&file("encryption.yaml"), &encryption(&format!("{kms}  - identity: {{}}\n")));
    assert!(cluster.terminate().success());
    cluster.start();
    let api = Api::<Secret>::default_namespaced(cluster.client().await);
    let value =
        wait_for(&api, "s", "readable", |secret| secret.data.as_ref()?.get("k").map(|value| value.0.clone())).await;
    assert_eq!(value, b"hidden");
    assert!(plugin.asked.decrypt.load(Ordering::SeqCst) > 0);

    // Under which certificate the API is served.
    assert!(contains(&served_names(cluster.api_port).await, "first.example"));
    issue(&own, directory.path(), "second.example");
    until("the new certificate is served", || async {
        contains(&served_names(cluster.api_port).await, "second.example")
    })
    .await;
}
