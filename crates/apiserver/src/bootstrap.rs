//! Objects that every cluster has from its start. Upstream: `controlplane/controller/{systemnamespaces,kubernetesservice}`.
