//! Feature gates of v1.36 that are about the API server, as they are by default there. They say what this server does;
//! none can be switched. Upstream: `pkg/features`, `apiserver/pkg/features`.

use metrics::Stability;

struct Gate {
    name: &'static str,
    /// As upstream's metric says it.
    stage: &'static str,
    on: bool,
}

/// In the order of their names.
#[rustfmt::skip]
static GATES: &[Gate] = &[
    Gate { name: "APIResponseCompression", stage: "BETA", on: true },
    Gate { name: "APIServerIdentity", stage: "BETA", on: true },
    Gate { name: "APIServingWithRoutine", stage: "ALPHA", on: false },
    Gate { name: "AllowParsingUserUIDFromCertAuth", stage: "BETA", on: true },
    Gate { name: "AllowUnsafeMalformedObjectDeletion", stage: "ALPHA", on: false },
    Gate { name: "AuthorizePodWebsocketUpgradeCreatePermission", stage: "BETA", on: true },
    Gate { name: "CBORServingAndStorage", stage: "ALPHA", on: false },
    Gate { name: "CRDObservedGenerationTracking", stage: "BETA", on: true },
    Gate { name: "ClusterTrustBundle", stage: "BETA", on: false },
    Gate { name: "ComponentFlagz", stage: "BETA", on: true },
    Gate { name: "ComponentStatusz", stage: "BETA", on: true },
    Gate { name: "ConcurrentWatchObjectDecode", stage: "BETA", on: false },
    Gate { name: "ConstrainedImpersonation", stage: "BETA", on: true },
    Gate { name: "CoordinatedLeaderElection", stage: "BETA", on: false },
    Gate { name: "CrossNamespaceVolumeDataSource", stage: "ALPHA", on: false },
    Gate { name: "DRAResourceClaimGranularStatusAuthorization", stage: "BETA", on: true },
    Gate { name: "DeclarativeValidationBeta", stage: "BETA", on: true },
    Gate { name: "DetectCacheInconsistency", stage: "BETA", on: true },
    Gate { name: "ExtendWebSocketsToKubelet", stage: "BETA", on: true },
    Gate { name: "GenericWorkload", stage: "ALPHA", on: false },
    Gate { name: "HPAScaleToZero", stage: "ALPHA", on: false },
    Gate { name: "ListFromCacheSnapshot", stage: "BETA", on: true },
    Gate { name: "ManifestBasedAdmissionControlConfig", stage: "ALPHA", on: false },
    Gate { name: "NodeDeclaredFeatures", stage: "BETA", on: true },
    Gate { name: "OpenAPIEnums", stage: "BETA", on: true },
    Gate { name: "PodCertificateRequest", stage: "BETA", on: false },
    Gate { name: "PodTopologyLabelsAdmission", stage: "BETA", on: true },
    Gate { name: "PortForwardWebsockets", stage: "BETA", on: true },
    Gate { name: "PreventStaticPodAPIReferences", stage: "BETA", on: true },
    Gate { name: "RelaxedServiceNameValidation", stage: "BETA", on: true },
    Gate { name: "RemoteRequestHeaderUID", stage: "BETA", on: true },
    Gate { name: "ServiceAccountNodeAudienceRestriction", stage: "BETA", on: true },
    Gate { name: "ShardedListAndWatch", stage: "ALPHA", on: false },
    Gate { name: "SizeBasedListCostEstimate", stage: "BETA", on: true },
    Gate { name: "StorageVersionAPI", stage: "ALPHA", on: false },
    Gate { name: "StorageVersionHash", stage: "BETA", on: true },
    Gate { name: "StorageVersionMigrator", stage: "BETA", on: false },
    Gate { name: "StrictIPCIDRValidation", stage: "BETA", on: true },
    Gate { name: "StructuredAuthenticationConfigurationEgressSelector", stage: "BETA", on: true },
    Gate { name: "StructuredAuthenticationConfigurationJWKSMetrics", stage: "BETA", on: true },
    Gate { name: "TokenRequestServiceAccountUIDValidation", stage: "BETA", on: true },
    Gate { name: "TranslateStreamCloseWebsocketRequests", stage: "BETA", on: true },
    Gate { name: "UnauthenticatedHTTP2DOSMitigation", stage: "BETA", on: true },
    Gate { name: "UnknownVersionInteroperabilityProxy", stage: "BETA", on: true },
    Gate { name: "WatchCacheInitializationPostStartHook", stage: "BETA", on: true },
    Gate { name: "WatchList", stage: "BETA", on: true },
    Gate { name: "WorkloadWithJob", stage: "ALPHA", on: false },
];

/// What is wrong with `--feature-gates`, if anything: a gate may be said to be what it is.
pub fn check(flag: &str) -> Result<(), String> {
    for pair in flag.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("missing bool value for {pair}"))?;
        let name = name.strip_prefix("kube:").unwrap_or(name);
        let wanted = match value {
            "true" | "True" | "TRUE" | "t" | "T" | "1" => true,
            "false" | "False" | "FALSE" | "f" | "F" | "0" => false,
            _ => return Err(format!("invalid value of {name}={value}, err: invalid syntax")),
        };
        let is_on = match GATES.iter().find(|gate| gate.name == name) {
            Some(gate) => gate.on,
            // All of them are as upstream has them.
            None if matches!(name, "AllAlpha" | "AllBeta") => false,
            None => return Err(format!("unrecognized feature gate: {name}")),
        };
        if wanted != is_on {
            return Err(format!(
                "cannot set feature gate {name} to {wanted}: it cannot be switched here and is {is_on}"
            ));
        }
    }
    Ok(())
}

pub(crate) fn render(out: &mut String) {
    let sample =
        |gate: &Gate| (format!("name=\"{}\",stage=\"{}\"", gate.name, gate.stage), f64::from(u8::from(gate.on)));
    metrics::render_value(
        "kubernetes_feature_enabled",
        Stability::Beta,
        "gauge",
        "This metric records the data about the stage and enablement of a k8s feature.",
        GATES.iter().map(sample),
        out,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_may_be_said_to_be_what_they_are() {
        assert!(GATES.is_sorted_by_key(|gate| gate.name));
        assert_eq!(check("WatchList=true,kube:StorageVersionMigrator=false,,AllAlpha=false"), Ok(()));
        for (flag, why) in [
            ("WatchList=false", "cannot set feature gate WatchList to false"),
            ("NoSuchThing=true", "unrecognized feature gate: NoSuchThing"),
            ("WatchList=x", "invalid value of WatchList=x"),
            ("WatchList", "missing bool value for WatchList"),
        ] {
            assert!(check(flag).unwrap_err().contains(why), "{flag}");
        }
    }
}
