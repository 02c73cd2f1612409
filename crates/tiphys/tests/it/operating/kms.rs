//! A KMS v2 plugin on a Unix socket. It encrypts by adding the number of its key to every byte.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use tokio::{net::UnixListener, task::JoinHandle};

pub(super) struct Plugin {
    pub(super) socket: PathBuf,
    pub(super) asked: Arc<Asked>,
    task: JoinHandle<()>,
}

#[derive(Default)]
pub(super) struct Asked {
    pub(super) encrypt: AtomicUsize,
    pub(super) decrypt: AtomicUsize,
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

impl Plugin {
    #[expect(clippy::disallowed_methods, reason = "a test's own server has no supervisor")]
    pub(super) fn start(directory: &Path) -> Self {
        let (socket, asked) = (directory.join("kms.sock"), Arc::new(Asked::default()));
        let listener = UnixListener::bind(&socket).expect("listen");
        let counts = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let asked = counts.clone();
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(answer(request, respond, asked.clone()));
                    }
                });
            }
        });
        Self { socket, asked, task }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    asked: Arc<Asked>,
) {
    let (head, mut body) = request.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.expect("a part of the question"));
    }
    let question = Question::decode(&bytes[5..]).expect("a question");
    let shift = |text: &[u8], by: u8| text.iter().map(|byte| byte.wrapping_add(by)).collect::<Vec<u8>>();
    let key_id = "7".to_owned();
    let message = match head.uri.path() {
        "/v2.KeyManagementService/Status" => {
            Status { version: "v2".to_owned(), healthz: "ok".to_owned(), key_id }.encode_to_vec()
        }
        "/v2.KeyManagementService/Encrypt" => {
            asked.encrypt.fetch_add(1, Ordering::SeqCst);
            Answer { text: shift(&question.text, 7), key_id, annotations: HashMap::new() }.encode_to_vec()
        }
        _ => {
            asked.decrypt.fetch_add(1, Ordering::SeqCst);
            Answer { text: shift(&question.text, 7_u8.wrapping_neg()), ..Answer::default() }.encode_to_vec()
        }
    };
    let response = http::Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
    let Ok(mut stream) = respond.send_response(response, false) else { return };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("short"));
    frame.put_slice(&message);
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    if stream.send_data(frame.freeze(), false).is_ok() {
        drop(stream.send_trailers(trailers));
    }
}
