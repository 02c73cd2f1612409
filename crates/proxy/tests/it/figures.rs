//! Not tests of behaviour: what a change costs with few and with many Services.

use std::time::{Duration, Instant};

use informer::Object;
use serde_json::json;

use crate::world::*;

#[test]
#[ignore = "measures"]
fn one_endpoint_change() {
    for count in [10_u32, 1_000, 10_000] {
        let world = World::new();
        world.run(async || {
            let objects: Vec<_> = (0..count).map(numbered).collect();
            let start = Instant::now();
            let mut cluster = Cluster::start(config(), &objects).await;
            let all = start.elapsed();
            cluster.supervisor.shutdown().await;
            let start = Instant::now();
            cluster = Cluster::start(config(), &objects).await;
            let again = start.elapsed();
            let mut changes: Vec<Duration> = Vec::new();
            for round in 0..200_u32 {
                let (_, mut slice) = numbered(round * 7 % count);
                if round % 2 == 0 {
                    let mut more = slice.endpoints.clone().unwrap()[0].clone();
                    more.addresses = vec![format!("10.42.9.{}", round + 1)];
                    slice.endpoints.as_mut().unwrap().push(more);
                }
                if cluster.slices.get(&slice.key()).unwrap().endpoints == slice.endpoints {
                    continue;
                }
                let start = Instant::now();
                cluster.apply(None, Some(&slice)).await;
                changes.push(start.elapsed());
            }
            changes.sort();
            let at = |part: usize| changes[changes.len() * part / 100];
            println!(
                "{count} Services: all {all:?}, restart {again:?}, one endpoint p50 {:?} p90 {:?} p99 {:?}",
                at(50),
                at(90),
                at(99)
            );
        });
    }
}

fn numbered(number: u32) -> (api::core::v1::Service, api::discovery::v1::EndpointSlice) {
    let [_, _, high, low] = number.to_be_bytes();
    let mut service = service(json!({ "clusterIPs": [format!("10.43.{high}.{low}")] }));
    service.metadata.name = Some(format!("web-{number}"));
    let mut slice = slice(&[&format!("10.42.{high}.{low}"), &format!("10.42.{}.{low}", 100 + high)]);
    slice.metadata.name = Some(format!("web-{number}-4"));
    let labels = [("kubernetes.io/service-name".to_owned(), format!("web-{number}"))];
    slice.metadata.labels = Some(labels.into());
    (service, slice)
}
