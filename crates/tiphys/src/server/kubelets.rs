//! How the API server reaches kubelets: the one of this process without a socket, all others over TLS.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use anyhow::Context as _;
use apiserver::{NodeAddress, NodeDialer, NodeStream, TlsDialer};
use futures::future::{BoxFuture, FutureExt as _};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kubelet::Kubelet;
use outbound::{Identity, Protocols, Trust};
use pki::{Authority, CertificateSpec};
use registry::UserInfo;
use supervisor::Supervisor;

use crate::layout::Layout;

/// Room for bytes on their way between the API server and the kubelet of the same process.
const PIPE: usize = 64 * 1024;
/// What kubelets know the API server as. Upstream: kubeadm's name for it.
const CLIENT: &str = "apiserver-kubelet-client";

/// Flags of upstream's `KubeletClientConfig`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Kubelets")]
pub(crate) struct KubeletFlags {
    /// Client certificate that kubelets know the API server by; one of the cluster's own if not given
    #[arg(long, requires = "kubelet_client_key")]
    kubelet_client_certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "kubelet_client_certificate")]
    kubelet_client_key: Option<PathBuf>,
    /// Authorities of kubelets' certificates, PEM; the cluster's own if not given
    #[arg(long)]
    kubelet_certificate_authority: Option<PathBuf>,
    /// Which of a node's addresses are dialled, the first that it has; names are not looked up
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "InternalIP,ExternalIP",
        value_parser = ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"]
    )]
    pub(super) kubelet_preferred_address_types: Vec<String>,
}

/// Connects the API server with kubelets. It has authorised the caller itself.
pub(crate) struct Dialer {
    own: OnceLock<Own>,
    others: TlsDialer,
}

/// The kubelet of this process.
struct Own {
    node: String,
    kubelet: Kubelet,
    supervisor: Supervisor,
}

impl Dialer {
    pub(super) fn new(flags: &KubeletFlags, layout: &Layout, authority: &Authority) -> anyhow::Result<Self> {
        let identity = match (&flags.kubelet_client_certificate, &flags.kubelet_client_key) {
            (Some(certificate), Some(key)) => Identity::Files { certificate: certificate.clone(), key: key.clone() },
            _ => {
                let spec = CertificateSpec::client("kube-apiserver-kubelet-client", Some(UserInfo::MASTERS_GROUP));
                authority.ensure(CLIENT, &spec)?;
                Identity::Files {
                    certificate: layout.pki().join(format!("{CLIENT}.crt")),
                    key: layout.pki().join(format!("{CLIENT}.key")),
                }
            }
        };
        let bundle = match &flags.kubelet_certificate_authority {
            Some(path) => {
                std::fs::read(path).with_context(|| format!("--kubelet-certificate-authority {}", path.display()))?
            }
            None => authority.certificate().as_bytes().to_vec(),
        };
        let identity = Arc::new(identity);
        let tls = |trust: &Trust| {
            let config = outbound::client_config(trust, Some(identity.clone()), Protocols::Http1);
            config.map(Arc::new).map_err(anyhow::Error::msg).context("TLS to kubelets")
        };
        let others = TlsDialer::new(tls(&Trust::Bundle(bundle))?, tls(&Trust::Anybody)?);
        Ok(Self { own: OnceLock::new(), others })
    }

    /// From now on the kubelet of this process can be asked.
    pub(super) fn serve(&self, node: &str, kubelet: Kubelet, supervisor: &Supervisor) {
        let own = Own { node: node.to_owned(), kubelet, supervisor: supervisor.clone() };
        // There is one node in a process, so it is set once.
        self.own.set(own).ok();
    }
}

impl Own {
    fn dial(&self) -> Box<dyn NodeStream> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let kubelet = self.kubelet.clone();
        self.supervisor.spawn("kubelet call", async move {
            let service = service_fn(move |request| {
                let kubelet = kubelet.clone();
                async move { Ok::<_, std::convert::Infallible>(kubelet.handle(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "call to the kubelet ended early");
            }
        });
        Box::new(ours)
    }
}

impl NodeDialer for Dialer {
    fn dial<'a>(&'a self, address: &'a NodeAddress) -> BoxFuture<'a, io::Result<Box<dyn NodeStream>>> {
        match self.own.get().filter(|own| own.node == address.node) {
            Some(own) => {
                let stream = own.dial();
                async move { Ok(stream) }.boxed()
            }
            None => self.others.dial(address),
        }
    }
}
