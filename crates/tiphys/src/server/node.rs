//! The node: images, pod network, container runtime, kubelet and Service rules.

use std::{net::IpAddr, sync::Arc};

use anyhow::Context as _;
use api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use ipnet::IpNet;
use kubelet::{ApiAuthorizer, Kubelet, Parts};
use network::BridgeNetwork;
use pki::{CertificateSpec, ServingIdentity};
use proxy::Proxy;
use registry::UserInfo;
use runtime::{Runtime, RuntimeConfig};
use supervisor::Supervisor;
use tokio::net::TcpListener;

use super::{Settings, control_plane::ControlPlane, names::Names};
use crate::{admin, image};

/// Prefix length of one node's part of the pods' range.
const NODE_PREFIX: u8 = 24;

/// A running node. Its tasks end with the supervisor; its containers and rules stay.
pub(crate) struct RunningNode {
    _proxy: Proxy,
}

pub(super) async fn start(
    settings: &Settings,
    control_plane: &ControlPlane,
    supervisor: &Supervisor,
) -> anyhow::Result<RunningNode> {
    let (layout, arguments) = (&settings.layout, &settings.arguments);
    let names = Names::of(layout).with_ranges(arguments.cluster_cidr, arguments.service_cidr);

    let images = image::open(layout)?;
    admin::serve(&layout.socket(), images.clone(), supervisor)?;
    let (store, archives) = (images.store.clone(), layout.archives());
    let import = tokio::task::spawn_blocking(move || store.import_directory(&archives));

    let network = Arc::new(BridgeNetwork::new(names.network(layout)));
    network.configure(&[node_range(arguments.cluster_cidr)?]).await.context("set up the pod network")?;
    let runtime = Runtime::open(RuntimeConfig {
        root: layout.runtime(),
        puller: images.puller.clone(),
        network,
        default_cgroup_parent: names.cgroup_root(),
        helper: None,
        version: ("tiphys".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        supervisor: supervisor.clone(),
    })
    .await
    .context("start the container runtime")?;
    let runtime = Arc::new(runtime);

    let services = control_plane.caches.of::<Service>();
    let mut config = names.proxy(&settings.node_name);
    config.node_addresses = vec![settings.node_ip];
    config.reserved_ports = [arguments.secure_port, arguments.kubelet_port].into();
    let proxy = Proxy::start(config, services.clone(), control_plane.caches.of::<EndpointSlice>(), supervisor)
        .context("start the service proxy")?;

    // A pod that is waiting for this node may want an image of the archives.
    import.await.context("import images")?.context("import the archives of the data directory")?;
    let kubelet = Kubelet::start(Parts {
        config: kubelet_config(settings, &names)?,
        client: control_plane.server.client(node_user(&settings.node_name)),
        runtime: runtime.clone(),
        images: runtime,
        supervisor: supervisor.clone(),
        services: Some(services),
    })
    .await
    .context("start the kubelet")?;
    serve_kubelet(settings, control_plane, &kubelet).await?;
    control_plane.dialer.serve(&settings.node_name, kubelet, supervisor);
    ready(settings, control_plane).await;
    proxy.synced().await;
    Ok(RunningNode { _proxy: proxy })
}

fn node_user(name: &str) -> UserInfo {
    UserInfo::new(format!("system:node:{name}"), ["system:nodes", UserInfo::AUTHENTICATED_GROUP])
}

/// The first part of the pods' range.
fn node_range(cluster: IpNet) -> anyhow::Result<IpNet> {
    let prefix = NODE_PREFIX.max(cluster.prefix_len());
    cluster
        .subnets(prefix)
        .ok()
        .and_then(|mut subnets| subnets.next())
        .with_context(|| format!("the range of pods {cluster} has no room for a node"))
}

fn kubelet_config(settings: &Settings, names: &Names) -> anyhow::Result<kubelet::Config> {
    let mut config = kubelet::Config::new(&settings.node_name, settings.layout.kubelet());
    config.cgroup_root = names.cgroup_root();
    config.node_ips = vec![settings.node_ip];
    config.port = settings.arguments.kubelet_port;
    // The tenth address of the range is the cluster's nameserver, by convention.
    config.cluster_dns = settings.arguments.service_cidr.hosts().nth(9).into_iter().collect();
    Ok(config)
}

/// The node's own HTTPS server, for whoever does not come through the API server.
async fn serve_kubelet(settings: &Settings, control_plane: &ControlPlane, kubelet: &Kubelet) -> anyhow::Result<()> {
    let addresses: Vec<IpAddr> = vec![settings.node_ip, IpAddr::from([127, 0, 0, 1])];
    let spec = CertificateSpec::server(
        &format!("system:node:{}", settings.node_name),
        vec![settings.node_name.clone(), "localhost".to_owned()],
        addresses,
    );
    let (certificate, key) = control_plane.authority.ensure("kubelet", &spec)?;
    let identity = ServingIdentity::new(&certificate, &key)?;
    let tls = pki::server_config(identity, Some(control_plane.authority.certificate()))?;
    let address = (settings.arguments.bind_address, settings.arguments.kubelet_port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("listen on port {}; is another kubelet running? --kubelet-port chooses another port", address.1)
    })?;
    let client = control_plane.server.client(node_user(&settings.node_name));
    kubelet.serve(listener, Arc::new(tls), Arc::new(ApiAuthorizer::new(client, &settings.node_name)));
    Ok(())
}

/// Waits until the node says that it is ready.
async fn ready(settings: &Settings, control_plane: &ControlPlane) {
    let nodes = control_plane.caches.of::<Node>();
    let key = apimachinery::ObjectKey::cluster(&settings.node_name);
    let is_ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    nodes.wait_until(|nodes| nodes.get(&key).is_some_and(|node| is_ready(&node))).await;
}
