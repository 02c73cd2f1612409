//! The real binary, started as a user starts it: a whole cluster with real containers, driven by unmodified kubectl
//! programs and by `kube::Client`, and taken away again without a trace.
//!
//! Starting a cluster costs seconds, so that each test makes many checks on one. Nothing here waits for time to pass:
//! `kubectl wait`, `rollout status` and watches wait for facts, with a limit. Needs root. `TIPHYS_KUBECTL` names the
//! kubectl programs to try, with blanks between them; otherwise those of `PATH` and of Google's SDK are found, and
//! checks that need one are skipped aloud where there is none.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and tells what it skips"
)]

mod cluster;
mod kubectl;
mod leftovers;
mod machine;
mod pods;
mod streams;
mod workloads;

use cluster::Cluster;
use kubectl::Kubectl;

/// Everything that a user does with kubectl on one cluster, and then the cluster's end.
#[test]
fn a_user_with_kubectl() {
    let cluster = Cluster::start();
    let programs = kubectl::programs();
    let Some(newest) = programs.last() else {
        println!("skipped: no kubectl is installed");
        return cluster.remove();
    };
    let kubectl = Kubectl::new(newest, &cluster);
    println!("with {}", newest.display());
    workloads::example(&kubectl, &cluster);
    workloads::reads(&kubectl);
    workloads::changes(&kubectl);
    workloads::rollouts(&kubectl);
    workloads::cascades(&kubectl);
    workloads::tutorial(&kubectl);
    workloads::nodes(&kubectl);
    pods::lives(&kubectl);
    pods::logs(&kubectl);
    for program in &programs {
        println!("with {}", program.display());
        streams::all(&Kubectl::new(program, &cluster));
    }
    cluster.remove();
}
