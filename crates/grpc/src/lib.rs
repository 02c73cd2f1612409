//! A small gRPC client: unary calls and streams over HTTP/2, on TCP, TLS or a Unix socket.
//!
//! It is for programs beside the cluster that speak gRPC (etcd, key management plugins). Messages are `prost` structs
//! that their users write down; nothing is generated. It follows no redirects, uses no proxy and resolves a name once
//! for each connection. Answers have a limit, calls a deadline.
//!
//! Upstream counterpart: `google.golang.org/grpc` as far as client-go's neighbours use it.

mod call;
mod channel;
mod connect;
mod error;

pub use call::{Receiver, Sender};
pub use channel::{Channel, Options};
pub use connect::Endpoint;
pub use error::{Code, GrpcError};
