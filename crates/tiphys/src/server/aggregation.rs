//! Extension servers behind the API server: as whom they are called, and what they learn of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use apiserver::{
    ApiServer,
    aggregator::{self, Aggregation, RequestHeaders},
};
use outbound::{Credentials, Identity, Outbound};
use pki::{Authority, CertificateSpec};
use supervisor::Supervisor;

use super::{Settings, access::PROXY_NAME};

/// How often the front proxy's certificate is looked at; it is renewed long before it ends.
const RENEWAL: Duration = Duration::from_secs(12 * 3600);
const AUTHORITY: &str = "front-proxy-ca";

/// Flags of upstream's aggregator.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct AggregationFlags {
    /// Client certificate that extension servers believe requests by; its authority goes with
    /// --requestheader-client-ca-file. The cluster's own when it is not given
    #[arg(long, requires = "proxy_client_key_file")]
    pub(crate) proxy_client_cert_file: Option<PathBuf>,
    /// Key of --proxy-client-cert-file
    #[arg(long, requires = "proxy_client_cert_file")]
    pub(crate) proxy_client_key_file: Option<PathBuf>,
}

/// The front proxy's certificate. It is read with each handshake, so a new one is shown as soon as it is there.
pub(super) fn aggregation(
    settings: &Settings,
    outbound: &Outbound,
    supervisor: &Supervisor,
) -> anyhow::Result<Aggregation> {
    let flags = &settings.arguments.aggregation;
    let identity = match (&flags.proxy_client_cert_file, &flags.proxy_client_key_file) {
        (Some(certificate), Some(key)) => Identity::Files { certificate: certificate.clone(), key: key.clone() },
        _ => {
            let directory = settings.layout.pki();
            let authority = Authority::open(&directory, AUTHORITY, AUTHORITY)?;
            authority.ensure(PROXY_NAME, &spec())?;
            renew(authority, supervisor);
            Identity::Files {
                certificate: directory.join(format!("{PROXY_NAME}.crt")),
                key: directory.join(format!("{PROXY_NAME}.key")),
            }
        }
    };
    Ok(Aggregation { outbound: outbound.clone(), credentials: Credentials::certificate(Arc::new(identity)) })
}

/// Tells extension servers whom to believe, registers what this server serves, and looks after the others.
pub(super) async fn start(
    server: &ApiServer,
    settings: &Settings,
    client_authority: &Authority,
    supervisor: &Supervisor,
) -> anyhow::Result<()> {
    let flags = &settings.arguments.access;
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let (authority, allowed_names) = match &flags.requestheader_client_ca_file {
        Some(path) => (read(path)?, flags.requestheader_allowed_names.clone()),
        None => {
            let authority = Authority::open(&settings.layout.pki(), AUTHORITY, AUTHORITY)?;
            (authority.certificate().to_owned(), vec![PROXY_NAME.to_owned()])
        }
    };
    let client_authority = match &flags.client_ca_file {
        Some(path) => read(path)?,
        None => client_authority.certificate().to_owned(),
    };
    let headers = RequestHeaders { client_authority, authority, allowed_names };
    aggregator::keep_authentication(server.registry(), headers, supervisor).await?;
    aggregator::start(server, supervisor).await?;
    Ok(())
}

fn spec() -> CertificateSpec {
    CertificateSpec::client(PROXY_NAME, None)
}

fn renew(authority: Authority, supervisor: &Supervisor) {
    supervisor.spawn("front proxy certificate renewal", async move {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = authority.ensure(PROXY_NAME, &spec()) {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(error, "the front proxy's certificate was not renewed");
            }
        }
    });
}
