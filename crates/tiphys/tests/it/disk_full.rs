//! The disk of the store is full: what cannot be kept is refused, in words that say why, and when there is room again
//! writes go on without a restart.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;

use crate::cluster::Cluster;

/// A mount namespace in which the data directory is a small file system of its own.
struct SmallDisk(Child);

// === impl SmallDisk ===

impl SmallDisk {
    fn new(cluster: &mut Cluster) -> Self {
        let script = r#"mount -t tmpfs -o size=6m,mode=700 tmpfs "$0" && echo mounted && exec cat"#;
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(&cluster.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a mount namespace");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("output")).read_line(&mut line).expect("read");
        assert_eq!(line, "mounted\n");
        let inside = ["nsenter", "--mount", "--target", &holder.id().to_string()].map(str::to_owned);
        cluster.prefix = inside.to_vec();
        Self(holder)
    }

    fn filler(&self, cluster: &Cluster) -> PathBuf {
        let below_root = cluster.data.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.0.id())).join(below_root).join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn big(name: &str) -> ConfigMap {
    let value = "x".repeat(20_000);
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"value": value}})).expect("a config map")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_survived() {
    let mut cluster = Cluster::control_plane();
    let disk = SmallDisk::new(&mut cluster);
    cluster.start();
    let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client().await);
    let params = PostParams::default();
    config_maps.create(&params, &big("first")).await.expect("create");

    let mut filler = fs::File::create(disk.filler(&cluster)).expect("create");
    while filler.write_all(&[0; 4096]).is_ok() {}
    let mut kept = vec!["first".to_owned()];
    let refusal = loop {
        let name = format!("filled-{}", kept.len());
        match config_maps.create(&params, &big(&name)).await {
            Ok(_) => kept.push(name),
            Err(kube::Error::Api(status)) => break status,
            Err(error) => panic!("{error}"),
        }
        assert!(kept.len() < 1000, "6 MB cannot keep all this");
    };
    assert_eq!(refusal.code, 503, "{refusal:?}");
    assert_eq!(refusal.message, "the store takes no writes at the moment: no space left on its disk");
    assert!(cluster.log().contains("no space left to extend"), "the log says it too");
    // Reading goes on, and shows nothing that was refused.
    assert_eq!(names(&config_maps).await, kept);

    fs::remove_file(disk.filler(&cluster)).expect("remove");
    drop(filler);
    // The engine may have to be opened again first, which is not tried at every write.
    let again = async {
        while let Err(error) = config_maps.create(&params, &big("last")).await {
            assert!(matches!(&error, kube::Error::Api(status) if status.code >= 500), "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::cluster::PATIENCE, again).await.expect("writes go on when there is room");
    kept.push("last".to_owned());
    cluster.kill();
    cluster.start();
    let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client().await);
    assert_eq!(names(&config_maps).await, kept, "after a restart");
    cluster.kill();
}

/// Without the one that controllers make, in order of their making.
async fn names(config_maps: &Api<ConfigMap>) -> Vec<String> {
    let list = config_maps.list(&ListParams::default()).await.expect("list").items;
    let mut made: Vec<(u64, String)> = list
        .into_iter()
        .filter_map(|object| Some((object.metadata.resource_version?.parse().ok()?, object.metadata.name?)))
        .filter(|(_, name)| name != "kube-root-ca.crt")
        .collect();
    made.sort();
    made.into_iter().map(|(_, name)| name).collect()
}
