//! `tiphys apiserver`: the API alone, over an etcd that other API servers may work on, too. Flags are kube-apiserver's.
//!
//! Nothing has to be shared between such servers but etcd and the files that the flags name. Upstream:
//! `cmd/kube-apiserver/app/options`.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context as _, ensure};
use clap::{ArgAction, Args};
use ipnet::IpNet;

use super::{
    Role, Settings, access, address, aggregation, kubelets, operations::OperationFlags, storage::StorageArguments,
};
use crate::{layout::Layout, logging};

#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Where certificates are made that no flag names
    #[arg(long, default_value = "/var/run/kubernetes")]
    cert_dir: PathBuf,
    /// Address that others reach this server at: what the endpoints of the kubernetes Service say. The one it listens
    /// on, or else the machine's, if not given
    #[arg(long)]
    advertise_address: Option<IpAddr>,
    /// Address that the API listens on
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    /// Port of the API
    #[arg(long, default_value_t = 6443)]
    secure_port: u16,
    /// Name that this server has for the outside
    #[arg(long)]
    external_hostname: Option<String>,
    /// Range of Services' addresses, or one of each family
    #[arg(long, value_delimiter = ',', default_value = "10.0.0.0/24")]
    service_cluster_ip_range: Vec<IpNet>,
    /// Taken and not looked at: privileged containers are for Pod Security to allow
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    allow_privileged: bool,
    /// How the endpoints of the kubernetes Service are kept: by leases of the servers, or not at all
    #[arg(long, default_value = "lease", value_parser = ["lease", "none"])]
    endpoint_reconciler_type: String,
    /// Admission plugins to switch on beside those that are
    #[arg(long, value_delimiter = ',')]
    enable_admission_plugins: Vec<String>,
    /// Admission plugins to switch off
    #[arg(long, value_delimiter = ',')]
    disable_admission_plugins: Vec<String>,
    /// Seconds that pods stay on a node that is not ready, where they do not say
    #[arg(long, default_value_t = 300)]
    default_not_ready_toleration_seconds: i64,
    /// Seconds that pods stay on a node that cannot be reached, where they do not say
    #[arg(long, default_value_t = 300)]
    default_unreachable_toleration_seconds: i64,
    /// Settings of admission plugins: a file with an AdmissionConfiguration
    #[arg(long)]
    admission_control_config_file: Option<PathBuf>,
    #[command(flatten)]
    access: access::AccessFlags,
    #[command(flatten)]
    aggregation: aggregation::AggregationFlags,
    #[command(flatten)]
    kubelets: kubelets::KubeletFlags,
    #[command(flatten)]
    storage: StorageArguments,
    #[command(flatten)]
    operations: OperationFlags,
}

pub(crate) fn main(arguments: Arguments) -> anyhow::Result<()> {
    logging::start(arguments.operations.logging_format.as_deref(), arguments.operations.v);
    metrics::disable(&arguments.operations.disabled_metrics);
    super::serve(arguments.settings()?)
}

impl Arguments {
    fn settings(self) -> anyhow::Result<Settings> {
        self.check()?;
        let layout = Layout::new(&self.cert_dir)?;
        let advertised = self.advertise_address.unwrap_or_else(|| match self.bind_address {
            bound if bound.is_unspecified() || bound.is_loopback() => address::primary(),
            bound => bound,
        });
        let arguments = super::Arguments {
            data_dir: self.cert_dir,
            write_kubeconfig: None,
            bind_address: self.bind_address,
            secure_port: self.secure_port,
            advertise_address: self.advertise_address,
            external_hostname: self.external_hostname,
            tls_sans: Vec::new(),
            node_name: None,
            node_ip: Some(advertised),
            kubelet_port: 10250,
            cluster_cidr: "10.42.0.0/16".parse().context("the range of pods")?,
            service_cidr: *self.service_cluster_ip_range.first().context("--service-cluster-ip-range is empty")?,
            enable_admission_plugins: self.enable_admission_plugins,
            disable_admission_plugins: self.disable_admission_plugins,
            default_not_ready_toleration_seconds: self.default_not_ready_toleration_seconds,
            default_unreachable_toleration_seconds: self.default_unreachable_toleration_seconds,
            admission_control_config_file: self.admission_control_config_file,
            disable_agent: true,
            access: self.access,
            aggregation: self.aggregation,
            kubelets: self.kubelets,
            storage: self.storage,
            operations: self.operations,
        };
        let role = Role::ApiServer { keeps_endpoints: self.endpoint_reconciler_type == "lease" };
        Ok(Settings {
            service_ranges: self.service_cluster_ip_range,
            layout,
            node_name: address::hostname()?,
            node_ip: advertised,
            role,
            arguments,
        })
    }

    /// What several servers cannot each make for themselves. Upstream: `Validate` of the options.
    fn check(&self) -> anyhow::Result<()> {
        let access = &self.access;
        let mut wrong: Vec<&str> = Vec::new();
        if !self.storage.says_where() {
            wrong.push("--etcd-servers must be specified");
        }
        if access.service_account_issuers.is_empty() {
            wrong.push("service-account-issuer is a required flag");
        }
        if access.service_account_signing_key_file.is_none() || access.service_account_issuers.is_empty() {
            wrong.push("--service-account-signing-key-file and --service-account-issuer are required flags");
        }
        if access.service_account_key_files.is_empty() {
            wrong.push("--service-account-key-file is a required flag");
        }
        let ranges = &self.service_cluster_ip_range;
        if ranges.len() > 2 {
            wrong.push("--service-cluster-ip-range must not contain more than two entries");
        }
        let families = ranges.iter().filter(|range| range.addr().is_ipv4()).count();
        if ranges.len() == 2 && families != 1 {
            wrong
                .push("--service-cluster-ip-range[0] and --service-cluster-ip-range[1] must be of different IP family");
        }
        ensure!(wrong.is_empty(), "[{}]", wrong.join(", "));
        Ok(())
    }
}
