//! KMS v2 against a plugin on a Unix socket: what is kept, what a restart asks for, rotation, and a plugin that fails.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "what tests share fails by panicking as they do")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{BufMut as _, Bytes, BytesMut};
use encryption::{AtRest, Configuration};
use engine::{Codec as _, Layout, Template};
use prost::Message;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

/// Encrypts by adding the key's number to every byte: enough to see that it was asked.
struct Plugin {
    directory: TempDir,
    state: Arc<State>,
    _runtime: Runtime,
}

#[derive(Default)]
struct State {
    key_id: Mutex<String>,
    healthz: Mutex<String>,
    encryptions: AtomicUsize,
    decryptions: AtomicUsize,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(bytes = "vec", tag = "1")]
    text: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(map = "string, bytes", tag = "4")]
    annotations: HashMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(bytes = "vec", tag = "1")]
    text: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(map = "string, bytes", tag = "3")]
    annotations: HashMap<String, Vec<u8>>,
}

// === impl Plugin ===

impl Plugin {
    fn start() -> Plugin {
        let directory = tempfile::tempdir().unwrap();
        let state = Arc::new(State::default());
        *state.key_id.lock().unwrap() = "1".to_owned();
        *state.healthz.lock().unwrap() = "ok".to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let plugin = Plugin { directory, state: Arc::clone(&state), _runtime: runtime };
        let _entered = plugin._runtime.enter();
        let listener = UnixListener::bind(plugin.socket()).unwrap();
        plugin._runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(answer(request, respond, Arc::clone(&state)));
                    }
                });
            }
        });
        drop(_entered);
        plugin
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("kms.sock")
    }

    fn codec(&self) -> AtRest {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
             providers:\n  - kms: {{apiVersion: v2, name: demo, timeout: 1s, endpoint: 'unix://{}'}}\n",
            self.socket().display()
        );
        let layout = Arc::new(Layout::new("/registry", ["secrets".to_owned()]));
        AtRest::new(&Configuration::parse(&text).unwrap(), layout, None).unwrap()
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    state: Arc<State>,
) {
    let (head, mut body) = request.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.unwrap());
    }
    let question = Question::decode(&bytes[5..]).unwrap();
    let key_id = state.key_id.lock().unwrap().clone();
    let shift = |text: &[u8], by: u8| text.iter().map(|byte| byte.wrapping_add(by)).collect::<Vec<u8>>();
    let number = |key_id: &str| key_id.parse::<u8>().unwrap();
    let message = match head.uri.path() {
        "/v2.KeyManagementService/Status" => {
            let healthz = state.healthz.lock().unwrap().clone();
            Status { version: "v2".to_owned(), healthz, key_id }.encode_to_vec()
        }
        "/v2.KeyManagementService/Encrypt" => {
            state.encryptions.fetch_add(1, Ordering::SeqCst);
            let annotations = HashMap::from([("kms.example.com".to_owned(), b"note".to_vec())]);
            Answer { text: shift(&question.text, number(&key_id)), key_id, annotations }.encode_to_vec()
        }
        "/v2.KeyManagementService/Decrypt" => {
            state.decryptions.fetch_add(1, Ordering::SeqCst);
            assert_eq!(question.annotations["kms.example.com"], b"note");
            let text = shift(&question.text, number(&question.key_id).wrapping_neg());
            Answer { text, ..Answer::default() }.encode_to_vec()
        }
        other => panic!("{other}"),
    };
    let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(response, false).unwrap();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(&message);
    stream.send_data(frame.freeze(), false).unwrap();
    let trailers = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    stream.send_trailers(trailers).unwrap();
}

fn secret() -> Template {
    let json =
        Bytes::from_static(br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"k":"dG9w"}}"#);
    Template::from_json(&json).unwrap()
}

#[test]
fn a_plugin_is_asked_once_for_each_seed() {
    let plugin = Plugin::start();
    let codec = plugin.codec();
    assert_eq!(codec.unhealthy_plugins(), []);
    let (kept, mark) = codec.seal("secrets", "a/b", &secret()).unwrap();
    assert!(kept.head.starts_with(b"k8s:enc:kms:v2:demo:"));
    assert!(!kept.head.windows(4).any(|window| window == b"dG9w"));
    let open = |codec: &AtRest, path: &str, kept: &Template| codec.open(&"secrets".into(), &path.into(), kept.clone());
    assert_eq!(open(&codec, "a/b", &kept).unwrap(), (secret(), mark));
    let second = codec.seal("secrets", "a/c", &secret()).unwrap().0;
    // What encrypts is at hand: nothing was asked but for the seed.
    let asked = |state: &State| (state.encryptions.load(Ordering::SeqCst), state.decryptions.load(Ordering::SeqCst));
    assert_eq!(asked(&plugin.state), (1, 0));
    assert!(open(&codec, "a/x", &kept).is_err(), "it is bound to its place");

    // Another server, or this one after a restart, asks once, not for every record; and the key is the same one.
    let other = plugin.codec();
    assert_eq!(open(&other, "a/b", &kept).unwrap().0, secret());
    assert_eq!(open(&other, "a/c", &second).unwrap().0, secret());
    assert_eq!(asked(&plugin.state), (2, 1));
    assert_eq!(open(&other, "a/b", &kept).unwrap().1, other.mark("secrets"));

    // The plugin's key is another one: what is kept with the old one is readable, and stale.
    *plugin.state.key_id.lock().unwrap() = "2".to_owned();
    let rotated = plugin.codec();
    let (opened, old) = open(&rotated, "a/b", &kept).unwrap();
    assert_eq!(opened, secret());
    assert_ne!(old, rotated.mark("secrets"));
}

#[test]
fn without_a_plugin_nothing_is_written_in_the_clear() {
    let plugin = Plugin::start();
    *plugin.state.healthz.lock().unwrap() = "on fire".to_owned();
    let codec = plugin.codec();
    let trouble = codec.unhealthy_plugins();
    assert_eq!(trouble.len(), 1);
    assert!(trouble[0].1.contains("on fire"), "{trouble:?}");
    assert!(codec.seal("secrets", "a/b", &secret()).is_err());
    assert!(codec.seal("configmaps", "a/b", &secret()).is_ok());

    std::fs::remove_file(plugin.socket()).unwrap();
    let gone = plugin.codec();
    assert!(gone.seal("secrets", "a/b", &secret()).is_err());
}
