//! The server is killed again and again while it is written to. The journal of what it acknowledged is here, outside.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use crate::cluster::Cluster;

const WRITERS: usize = 4;
/// Of each writer.
const KEYS: usize = 5;

/// What is known of one object: its version and content, or that there is none.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    version: u64,
    value: String,
}

/// What one writer was told.
struct Journal {
    writer: usize,
    count: usize,
    acknowledged: BTreeMap<String, Known>,
    /// The content that the last, unanswered request would have left: none where it deletes.
    unanswered: Option<(String, Option<String>)>,
    highest: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_however_often_the_server_is_killed() {
    let kills: u64 = std::env::var("TIPHYS_SERVER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let mut cluster = Cluster::control_plane();
    let mut journals: Vec<Journal> = (0..WRITERS).map(Journal::new).collect();
    let mut random = u64::from(std::process::id()) | 1;
    println!("seed {random}");
    let (begun, mut written) = (Instant::now(), 0);
    for _ in 0..kills {
        cluster.start();
        let client = cluster.client().await;
        check(&client, &mut journals).await;
        // xorshift
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The instant of death is what is tried here, so it is a time.
        let life = Duration::from_micros(random % 150_000);
        let writing = futures::future::join_all(journals.iter_mut().map(|journal| journal.write(client.clone())));
        let killing = async {
            tokio::time::sleep(life).await;
            cluster.kill();
        };
        let (counts, ()) = futures::join!(writing, killing);
        written += counts.into_iter().sum::<usize>();
    }
    cluster.start();
    check(&cluster.client().await, &mut journals).await;
    println!("{kills} kills in {:?}, {written} writes were acknowledged and none was lost", begun.elapsed());
    assert!(written > 0);
}

/// Compares what is there with what was acknowledged.
async fn check(client: &Client, journals: &mut [Journal]) {
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let list = config_maps.list(&ListParams::default().labels("loop=yes")).await.expect("list");
    let now: u64 = list.metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).expect("a revision");
    let mut there: BTreeMap<String, Known> = list.items.iter().filter_map(known).collect();
    for journal in journals {
        assert!(now >= journal.highest, "revision {now} after {} was acknowledged", journal.highest);
        if let Some((name, value)) = journal.unanswered.take() {
            let found = there.get(&name);
            // Either way is right; from now on it is known.
            if found.map(|found| &found.value) == value.as_ref() {
                match found {
                    Some(found) => drop(journal.acknowledged.insert(name, found.clone())),
                    None => drop(journal.acknowledged.remove(&name)),
                }
            }
        }
        let prefix = format!("w{}-", journal.writer);
        let own: Vec<String> = there.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        let own: BTreeMap<String, Known> = own.into_iter().filter_map(|name| there.remove_entry(&name)).collect();
        assert_eq!(own, journal.acknowledged);
        journal.highest = now;
    }
    assert_eq!(there, BTreeMap::new(), "objects that nobody made");
}

fn known(config_map: &ConfigMap) -> Option<(String, Known)> {
    let version = config_map.metadata.resource_version.as_deref()?.parse().ok()?;
    let value = config_map.data.as_ref()?.get("value")?.clone();
    Some((config_map.metadata.name.clone()?, Known { version, value }))
}

// === impl Journal ===

impl Journal {
    fn new(writer: usize) -> Self {
        Self { writer, count: 0, acknowledged: BTreeMap::new(), unanswered: None, highest: 0 }
    }

    /// Creates, updates and deletes until the server is gone; says how many were acknowledged.
    async fn write(&mut self, client: Client) -> usize {
        let config_maps: Api<ConfigMap> = Api::default_namespaced(client);
        let before = self.count;
        loop {
            let name = format!("w{}-{}", self.writer, self.count % KEYS);
            let value = format!("{}", self.count);
            let object = |version: Option<u64>| -> ConfigMap {
                let version = version.map(|version| version.to_string());
                let metadata = json!({"name": name, "labels": {"loop": "yes"}, "resourceVersion": version});
                serde_json::from_value(json!({"metadata": metadata, "data": {"value": value}})).expect("a config map")
            };
            let present = self.acknowledged.get(&name).map(|known| known.version);
            let delete = present.is_some() && self.count.is_multiple_of(3);
            self.unanswered = Some((name.clone(), (!delete).then(|| value.clone())));
            let params = PostParams::default();
            let outcome = match present {
                None => config_maps.create(&params, &object(None)).await.map(Some),
                Some(_) if delete => config_maps.delete(&name, &DeleteParams::default()).await.map(|_| None),
                version => config_maps.replace(&name, &params, &object(version)).await.map(Some),
            };
            match outcome {
                Ok(written) => {
                    match written.as_ref().and_then(known) {
                        Some((name, known)) => {
                            self.highest = self.highest.max(known.version);
                            self.acknowledged.insert(name, known);
                        }
                        None => drop(self.acknowledged.remove(&name)),
                    }
                    self.unanswered = None;
                    self.count += 1;
                }
                Err(kube::Error::Api(status)) => panic!("{name}: {status:?}"),
                Err(_) => return self.count - before,
            }
        }
    }
}
