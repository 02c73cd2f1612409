//! The kinds of the Kubernetes API as Rust types, and small pure helpers about single kinds that several parts
//! need (`pod::is_ready`). No I/O, no clock; what only one part needs stays in that part.

pub use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates, coordination,
        core, discovery, events, flowcontrol, networking, node, policy, rbac, resource, scheduling, storage,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1 as meta,
        apis::meta::v1::{Condition, LabelSelector, ObjectMeta, OwnerReference, Time},
        util::intstr::IntOrString,
    },
};

pub mod node_affinity;
pub mod owner;
pub mod pod;
pub mod pod_template;
pub mod quota;
pub mod requests;
pub mod service;
pub mod shared;
pub mod taint;
