//! Csi drivers for the registry. Upstream: `pkg/registry/storage/csidriver`.

mod validation;

use apimachinery::field::ErrorList;
use k8s_openapi::api::storage::v1::CSIDriver;
use registry::{Column, Info, ObjectExt, RequestCx, Strategy};
use serde_json::json;

use crate::optional::{Flag, Items};

type C = Column<CSIDriver>;

pub struct CSIDrivers;

impl Strategy for CSIDrivers {
    type Object = CSIDriver;

    const INFO: Info = Info::cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers");
    const COLUMNS: &'static [Column<CSIDriver>] = COLUMNS;
    const ALLOW_UNCONDITIONAL_UPDATE: bool = false;
    const RETURN_DELETED_OBJECT: bool = true;

    fn set_defaults(&self, object: &mut CSIDriver) {
        let spec = &mut object.spec;
        spec.attach_required.get_or_insert(true);
        spec.pod_info_on_mount.get_or_insert(false);
        spec.storage_capacity.get_or_insert(false);
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".to_owned());
        if spec.volume_lifecycle_modes.items().is_empty() {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".to_owned()]);
        }
        spec.requires_republish.get_or_insert(false);
        spec.se_linux_mount.get_or_insert(false);
    }

    fn prepare_for_create(&self, _cx: &RequestCx, object: &mut CSIDriver) {
        object.spec.prevent_pod_scheduling_if_missing = None;
        object.start_generation();
    }

    fn prepare_for_update(&self, _cx: &RequestCx, new: &mut CSIDriver, old: &CSIDriver) {
        // `VolumeLimitScaling` is off.
        if old.spec.prevent_pod_scheduling_if_missing.is_none() {
            new.spec.prevent_pod_scheduling_if_missing = None;
        }
        new.bump_generation_if(old, new.spec != old.spec);
    }

    fn validate(&self, _cx: &RequestCx, object: &CSIDriver) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, _cx: &RequestCx, new: &CSIDriver, old: &CSIDriver) -> ErrorList {
        validation::validate_update(new, old)
    }
}

fn token_requests(driver: &CSIDriver) -> String {
    match &driver.spec.token_requests {
        None => "<unset>".to_owned(),
        Some(requests) => requests.iter().map(|request| request.audience.as_str()).collect::<Vec<_>>().join(","),
    }
}

static COLUMNS: &[Column<CSIDriver>] = &[
    Column::NAME,
    C::boolean("AttachRequired", |o, _| json!(o.spec.attach_required.unwrap_or(true))).describe("attachRequired indicates this CSI volume driver requires an attach operation (because it implements the CSI ControllerPublishVolume() method), and that the Kubernetes attach detach controller should call the attach volume interface which checks the volumeattachment status and waits until the volume is attached before proceeding to mounting. The CSI external-attacher coordinates with CSI volume driver and updates the volumeattachment status when the attach operation is complete. If the value is specified to false, the attach operation will be skipped. Otherwise the attach operation will be called.\n\nThis field is immutable."),
    C::boolean("PodInfoOnMount", |o, _| json!(o.spec.pod_info_on_mount.is_set())).describe("podInfoOnMount indicates this CSI volume driver requires additional pod information (like podName, podUID, etc.) during mount operations, if set to true. If set to false, pod information will not be passed on mount. Default is false.\n\nThe CSI driver specifies podInfoOnMount as part of driver deployment. If true, Kubelet will pass pod information as VolumeContext in the CSI NodePublishVolume() calls. The CSI driver is responsible for parsing and validating the information passed in as VolumeContext.\n\nThe following VolumeContext will be passed if podInfoOnMount is set to true. This list might grow, but the prefix will be used. \"csi.storage.k8s.io/pod.name\": pod.Name \"csi.storage.k8s.io/pod.namespace\": pod.Namespace \"csi.storage.k8s.io/pod.uid\": string(pod.UID) \"csi.storage.k8s.io/ephemeral\": \"true\" if the volume is an ephemeral inline volume\n                                defined by a CSIVolumeSource, otherwise \"false\"\n\n\"csi.storage.k8s.io/ephemeral\" is a new feature in Kubernetes 1.16. It is only required for drivers which support both the \"Persistent\" and \"Ephemeral\" VolumeLifecycleMode. Other drivers can leave pod info disabled and/or ignore this field. As Kubernetes 1.15 doesn't support this field, drivers can only support one mode when deployed on such a cluster and the deployment determines which mode that is, for example via a command line parameter of the driver.\n\nThis field was immutable in Kubernetes < 1.29 and now is mutable."),
    C::boolean("StorageCapacity", |o, _| json!(o.spec.storage_capacity.is_set())).describe("storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report by creating CSIStorageCapacity objects with capacity information, if set to true.\n\nThe check can be enabled immediately when deploying a driver. In that case, provisioning new volumes with late binding will pause until the driver deployment has published some suitable CSIStorageCapacity object.\n\nAlternatively, the driver can be deployed with the field unset or false and it can be flipped later when storage capacity information has been published.\n\nThis field was immutable in Kubernetes <= 1.22 and now is mutable."),
    C::string("TokenRequests", |o, _| json!(token_requests(o))).describe("tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication. Kubelet will pass the tokens in VolumeContext in the CSI NodePublishVolume calls. The CSI driver should parse and validate the following VolumeContext: \"csi.storage.k8s.io/serviceAccount.tokens\": {\n  \"<audience>\": {\n    \"token\": <token>,\n    \"expirationTimestamp\": <expiration timestamp in RFC3339>,\n  },\n  ...\n}\n\nNote: Audience in each TokenRequest should be different and at most one token is empty string. To receive a new token after expiry, RequiresRepublish can be used to trigger NodePublishVolume periodically."),
    C::boolean("RequiresRepublish", |o, _| json!(o.spec.requires_republish.is_set())).describe("requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume. This field defaults to false.\n\nNote: After a successful initial NodePublishVolume call, subsequent calls to NodePublishVolume should only update the contents of the volume. New mount points will not be seen by a running container."),
    C::string("Modes", |o, _| {
        let modes = o.spec.volume_lifecycle_modes.items();
        json!(if modes.is_empty() { "<none>".to_owned() } else { modes.join(",") })
    }).describe("volumeLifecycleModes defines what kind of volumes this CSI volume driver supports. The default if the list is empty is \"Persistent\", which is the usage defined by the CSI specification and implemented in Kubernetes via the usual PV/PVC mechanism.\n\nThe other mode is \"Ephemeral\". In this mode, volumes are defined inline inside the pod spec with CSIVolumeSource and their lifecycle is tied to the lifecycle of that pod. A driver has to be aware of this because it is only going to get a NodePublishVolume call for such a volume.\n\nFor more information about implementing this mode, see https://kubernetes-csi.github.io/docs/ephemeral-local-volumes.html A driver can support one or more of these modes and more modes may be added in the future.\n\nThis field is beta. This field is immutable."),
    Column::AGE,
];
