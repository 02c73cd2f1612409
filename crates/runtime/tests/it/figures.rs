//! Latencies, printed, with loose bounds that only a mistake exceeds. Run alone for figures worth noting.

use std::time::{Duration, Instant};

use cri::{RuntimeService, SecurityProfile};

use crate::pod::Pod;

const ROUNDS: usize = 20;

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn latencies() {
    measure("seccomp default", Some(SecurityProfile::RuntimeDefault)).await;
    measure("unconfined", None).await;
}

#[expect(clippy::print_stdout, reason = "figures are for reading")]
async fn measure(title: &str, seccomp: Option<SecurityProfile>) {
    println!("{title}");
    let pod = Pod::start().await;
    // Together with `nice -n -20`, other work on the machine then hardly shows.
    let group = std::path::PathBuf::from(format!("/sys/fs/cgroup/cpu{}", pod.config.cgroup_parent));
    if let Some(root) = group.parent().filter(|_| std::path::Path::new("/sys/fs/cgroup/cpu").exists()) {
        std::fs::create_dir_all(root).expect("create group");
        std::fs::write(root.join("cpu.shares"), "262144").expect("write");
    }
    let (mut sandbox, mut create, mut start, mut exec, mut stop, mut remove, mut gone) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let config = cri::PodSandboxConfig {
            cgroup_parent: format!("{}-{round}", pod.config.cgroup_parent),
            ..pod.config.clone()
        };
        let mut begin = Instant::now();
        let mut lap = |list: &mut Vec<Duration>| {
            list.push(begin.elapsed());
            begin = Instant::now();
        };
        let id = pod.runtime.run_pod_sandbox(&config).await.expect("sandbox");
        lap(&mut sandbox);
        let mut container = Pod::shell("exec sleep 1000");
        container.security_context.seccomp = seccomp.clone();
        let container = pod.runtime.create_container(&id, &container, &config).await.expect("create");
        lap(&mut create);
        pod.runtime.start_container(&container).await.expect("start");
        lap(&mut start);
        pod.runtime.exec_sync(&container, &["true".to_owned()], None).await.expect("exec");
        lap(&mut exec);
        pod.runtime.stop_container(&container, Duration::ZERO).await.expect("stop");
        lap(&mut stop);
        pod.runtime.remove_container(&container).await.expect("remove");
        lap(&mut remove);
        pod.runtime.remove_pod_sandbox(&id).await.expect("remove sandbox");
        lap(&mut gone);
    }
    let figures = [
        ("run sandbox", sandbox),
        ("create container", create),
        ("start container", start),
        ("exec true", exec),
        ("kill", stop),
        ("remove container", remove),
        ("remove sandbox", gone),
    ];
    for (name, values) in figures {
        let median = median(values);
        println!("{name:20} {:7.2} ms", median.as_secs_f64() * 1000.0);
        assert!(median < Duration::from_secs(1), "{name} takes {median:?}");
    }
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_of_monitors() {
    const PODS: usize = 20;
    let pod = Pod::start().await;
    let mut sandboxes = Vec::new();
    for number in 0..PODS {
        let config = cri::PodSandboxConfig {
            cgroup_parent: format!("{}-{number}", pod.config.cgroup_parent),
            ..pod.config.clone()
        };
        let id = pod.runtime.run_pod_sandbox(&config).await.expect("sandbox");
        let mut container = Pod::shell("echo some output; exec sleep 1000");
        container.log_path = format!("{number}.log");
        let container = pod.runtime.create_container(&id, &container, &config).await.expect("create");
        pod.runtime.start_container(&container).await.expect("start");
        sandboxes.push(id);
    }
    let mut totals = [0_u64; 3];
    let mut monitors = 0;
    for entry in std::fs::read_dir("/proc").expect("list").flatten() {
        if !std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.starts_with(pod.directory())) {
            continue;
        }
        let rollup = std::fs::read_to_string(entry.path().join("smaps_rollup")).expect("read");
        for (total, name) in totals.iter_mut().zip(["Rss:", "Pss:", "Private_Dirty:"]) {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            *total += line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        }
        monitors += 1;
    }
    assert_eq!(monitors, PODS + 1);
    let [rss, pss, dirty] = totals.map(|total| total / monitors as u64);
    println!("monitor: {rss} KiB resident, {pss} KiB proportional, {dirty} KiB private dirty");
    assert!(pss < 300, "a monitor takes {pss} KiB");
    for id in sandboxes {
        pod.runtime.remove_pod_sandbox(&id).await.expect("remove");
    }
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_pods_at_once() {
    const PODS: usize = 30;
    let pod = Pod::start().await;
    let begin = Instant::now();
    let starts = (0..PODS).map(|number| {
        let pod = &pod;
        async move {
            let config = cri::PodSandboxConfig {
                cgroup_parent: format!("{}-{number}", pod.config.cgroup_parent),
                ..pod.config.clone()
            };
            let id = pod.runtime.run_pod_sandbox(&config).await.expect("sandbox");
            let mut container = Pod::shell(&format!("echo pod {number}; exec sleep 1000"));
            container.security_context.seccomp = Some(SecurityProfile::RuntimeDefault);
            container.log_path = format!("{number}.log");
            let container = pod.runtime.create_container(&id, &container, &config).await.expect("create");
            pod.runtime.start_container(&container).await.expect("start");
            (id, container)
        }
    });
    let started = futures::future::join_all(starts).await;
    println!("{PODS} pods run after {:.0} ms", begin.elapsed().as_secs_f64() * 1000.0);
    for (number, (_, container)) in started.iter().enumerate() {
        let (code, text) = pod.exec(container, &format!("cat /proc/1/cmdline; hostname; echo {number}")).await;
        assert_eq!((code, text), (0, format!("sleep\01000\0pod-under-test\n{number}\n")));
    }
    let begin = Instant::now();
    let removals = started.iter().map(|(sandbox, _)| pod.runtime.remove_pod_sandbox(sandbox));
    for removed in futures::future::join_all(removals).await {
        removed.expect("remove");
    }
    println!("{PODS} pods are gone after {:.0} ms", begin.elapsed().as_secs_f64() * 1000.0);
    pod.finish().await;
}
