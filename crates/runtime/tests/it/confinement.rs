//! What a container may not do, and what it is given.

use cri::{Device, LinuxResources, Mount, MountPropagation, RuntimeService, SecurityProfile};

use crate::pod::Pod;

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_are_the_usual_ones() {
    let pod = Pod::start().await;
    let (_, text) = pod.output(Pod::shell("grep CapEff /proc/self/status")).await;
    assert_eq!(text, "CapEff:\t00000000a80425fb\n");
    let mut config = Pod::shell("grep CapBnd /proc/self/status; chown 1 /etc/passwd 2>&1");
    config.security_context.drop_capabilities = vec!["ALL".to_owned()];
    config.security_context.add_capabilities = vec!["NET_BIND_SERVICE".to_owned()];
    let (code, text) = pod.output(config).await;
    assert!(text.starts_with("CapBnd:\t0000000000000400\n"), "{text}");
    assert_ne!(code, 0);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seccomp_refuses_even_root() {
    let pod = Pod::start().await;
    let script = "unshare -m true 2>&1; mkdir /tmp/d && mount -t tmpfs t /tmp/d 2>&1; grep Seccomp: /proc/self/status";
    let mut config = Pod::shell(script);
    config.security_context.seccomp = Some(SecurityProfile::RuntimeDefault);
    config.security_context.add_capabilities = vec!["SYS_ADMIN".to_owned()];
    let (_, text) = pod.output(config.clone()).await;
    assert!(text.contains("Seccomp:\t2") && !text.contains("denied"), "with the capability: {text}");
    config.security_context.add_capabilities = Vec::new();
    let (_, text) = pod.output(config.clone()).await;
    assert!(text.contains("Seccomp:\t2") && text.contains("Operation not permitted"), "{text}");
    config.security_context.no_new_privs = true;
    config.security_context.run_as_user = Some(1000);
    config.command[2] = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status".to_owned();
    let (_, text) = pod.output(config).await;
    assert_eq!(text, "NoNewPrivs:\t1\nSeccomp:\t2\n");

    // A profile of the node's own.
    let profile = pod.directory().join("profile.json");
    let text =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&profile, text).expect("write");
    let mut config = Pod::shell("mkdir /tmp/x");
    config.security_context.seccomp = Some(SecurityProfile::Localhost(profile.to_string_lossy().into_owned()));
    assert_ne!(pod.output(config).await.0, 0);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_groups_are_looked_up_in_the_image() {
    let pod = Pod::start().await;
    let mut config = Pod::shell("id; echo $HOME");
    config.security_context.run_as_username = "nginx".to_owned();
    config.security_context.supplemental_groups = vec![2000];
    let id = pod.run(config).await;
    let status = pod.wait(&id).await;
    assert_eq!(status.user, Some((101, 101, vec![101, 2000])));
    let text = crate::pod::log_text(status.log_path.as_ref());
    std::fs::remove_file(&status.log_path).expect("remove log");
    assert_eq!(text, "uid=101(nginx) gid=101(nginx) groups=101(nginx),2000\n/nonexistent\n");

    let mut config = Pod::shell("id");
    config.security_context.run_as_username = "ghost".to_owned();
    let error = pod.try_start(config).await.expect_err("no such user");
    assert!(error.to_string().ends_with("unable to find user ghost: no matching entries in passwd file"), "{error}");

    let mut config = Pod::shell("id -u; echo to-the-log > /dev/stdout");
    config.security_context.run_as_user = Some(1234);
    assert_eq!(pod.output(config).await, (0, "1234\nto-the-log\n".to_owned()));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_and_can_be_changed() {
    let pod = Pod::start().await;
    let mut config = Pod::shell("exec sleep 1000");
    config.resources = LinuxResources {
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        memory_limit: Some(64 << 20),
        pids_limit: Some(50),
        ..LinuxResources::default()
    };
    let id = pod.run(config).await;
    let read = |controller: &str, file: &str| {
        let group = format!("{}/{id}", pod.config.cgroup_parent);
        std::fs::read_to_string(format!("/sys/fs/cgroup/{controller}{group}/{file}")).map(|text| text.trim().to_owned())
    };
    if std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        assert_eq!(read("memory", "memory.limit_in_bytes").expect("read"), (64 << 20).to_string());
        assert_eq!(read("cpu", "cpu.shares").expect("read"), "512");
        assert_eq!(read("cpu", "cpu.cfs_quota_us").expect("read"), "50000");
        assert_eq!(read("pids", "pids.max").expect("read"), "50");
        assert!(
            read("unified", "cgroup.events").expect("read").contains("populated 1"),
            "not in the unified hierarchy"
        );
        let changed =
            LinuxResources { memory_limit: Some(96 << 20), cpu_shares: Some(256), ..LinuxResources::default() };
        pod.runtime.update_container_resources(&id, &changed).await.expect("update");
        assert_eq!(read("memory", "memory.limit_in_bytes").expect("read"), (96 << 20).to_string());
        assert_eq!(read("cpu", "cpu.shares").expect("read"), "256");
    }
    let stats = pod.runtime.container_stats(&id).await.expect("stats");
    assert!(stats.memory_usage > 0 && stats.process_count == 1 && stats.cpu_nanos > 0, "{stats:?}");
    let stats = pod.runtime.pod_sandbox_stats(&pod.sandbox).await.expect("stats");
    assert_eq!(stats.containers.len(), 1);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_made_as_asked() {
    let pod = Pod::start().await;
    let host = pod.directory().join("volume");
    std::fs::create_dir(&host).expect("create");
    std::fs::write(host.join("file"), "from the host\n").expect("write");
    let mount = |path: &str, readonly| Mount {
        container_path: path.to_owned(),
        host_path: host.to_string_lossy().into_owned(),
        readonly,
        ..Mount::default()
    };
    let mut config =
        Pod::shell("cat /rw/file; echo new > /rw/new; echo no > /ro/new; cat /ro/new; touch /x || touch /rw/y");
    config.mounts = vec![mount("/rw", false), mount("/ro", true)];
    config.security_context.readonly_rootfs = true;
    let (code, text) = pod.output(config).await;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("from the host\n") && text.contains("Read-only file system") && text.contains("new\n"),
        "{text}"
    );
    assert!(host.join("y").exists(), "the root could be written");

    // Mounts below the volume are read-only too, where that is asked for.
    let below = host.join("below");
    std::fs::create_dir(&below).expect("create");
    let command = |script: &str| {
        std::process::Command::new("sh").args(["-c", script]).arg(&below).status().expect("run").success()
    };
    assert!(command("mount -t tmpfs t \"$0\""));
    let mut config = Pod::shell("touch /r/below/x && echo written; touch /rro/below/x || echo refused");
    config.mounts = vec![mount("/r", true), Mount { recursive_read_only: true, ..mount("/rro", true) }];
    let (_, text) = pod.output(config).await;
    assert!(command("umount \"$0\""));
    assert!(text.contains("written") && text.contains("refused"), "{text}");

    // A part of an image, whose links lead nowhere outside of it.
    let part = Mount {
        container_path: "/part".to_owned(),
        image: Some("busybox".to_owned()),
        image_sub_path: "etc".to_owned(),
        ..Mount::default()
    };
    let mut config = Pod::shell("ls /part");
    config.mounts = vec![part];
    assert_eq!(pod.output(config).await.1, "group\nnsswitch.conf\npasswd\n");

    let image = Mount { container_path: "/image".to_owned(), image: Some("busybox".to_owned()), ..Mount::default() };
    let mut config = Pod::shell("ls -d /image/bin/busybox; touch /image/x");
    config.mounts = vec![image];
    let (code, text) = pod.output(config).await;
    assert!(code != 0 && text.starts_with("/image/bin/busybox\n"), "{text}");

    let mut config =
        Pod::shell("mkdir /shared/sub && mount -t tmpfs t /shared/sub && echo there > /shared/sub/f && sleep 1000");
    config.security_context.privileged = true;
    config.mounts = vec![Mount { propagation: MountPropagation::Bidirectional, ..mount("/shared", false) }];
    // Only a shared mount of the host can pass anything on.
    let status = std::process::Command::new("sh")
        .args(["-c", "mount --bind \"$0\" \"$0\" && mount --make-shared \"$0\""])
        .arg(&host)
        .status()
        .expect("mount");
    assert!(status.success());
    let id = pod.run(config).await;
    while !host.join("sub/f").exists() {
        tokio::task::yield_now().await;
    }
    pod.runtime.stop_container(&id, std::time::Duration::ZERO).await.expect("stop");
    let status = std::process::Command::new("sh").args(["-c", "umount \"$0/sub\" \"$0\""]).arg(&host).status();
    assert!(status.expect("umount").success());
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_only_those_allowed() {
    let pod = Pod::start().await;
    let script = "echo x > /dev/null && head -c 1 /dev/urandom | wc -c; mknod /tmp/loop c 10 237 && cat /tmp/loop 2>&1";
    let (_, text) = pod.output(Pod::shell(script)).await;
    assert!(text.starts_with("1\n") && text.contains("Operation not permitted"), "{text}");
    let mut config = Pod::shell("ls -l /dev/renamed | cut -c1; head -c 1 /dev/renamed | wc -c");
    config.devices = vec![Device {
        container_path: "/dev/renamed".to_owned(),
        host_path: "/dev/zero".to_owned(),
        permissions: "r".to_owned(),
    }];
    assert_eq!(pod.output(config).await, (0, "c\n1\n".to_owned()));
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernels_secrets_are_masked() {
    let pod = Pod::start().await;
    let script = "cat /proc/kcore 2>/dev/null | wc -c; echo 1 2>/dev/null > /proc/sys/kernel/panic || echo refused; \
                  ls /sys/firmware | wc -l; grep -c ' / overlay ' /proc/mounts";
    let (_, text) = pod.output(Pod::shell(script)).await;
    assert_eq!(text, "0\nrefused\n0\n1\n");
    let (_, text) = pod
        .output(Pod::shell("for fd in /proc/self/fd/*; do readlink $fd; done | grep -vc -E '^(pipe|/dev/null|/proc)'"))
        .await;
    assert_eq!(text, "0\n", "descriptors of the runtime are open in the container");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_helpers_binary_cannot_be_written_from_inside() {
    let pod = Pod::start().await;
    // A container whose program is the helper's own binary, reached through the first process (CVE-2019-5736).
    let mut config = Pod::shell("exec sleep 1000");
    config.security_context.privileged = true;
    let id = pod.run(config).await;
    let (_, text) = pod
        .exec(
            &id,
            "for i in 1 2 3 4 5; do for p in /proc/[0-9]*; do \
        case $(readlink $p/exe) in *agent*|*runtime-driver*) echo > $p/exe; echo seen;; esac; done; done; true",
        )
        .await;
    assert!(!text.contains("seen"), "a container sees the agent's binary: {text}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_keeps_names_that_are_no_shell_names() {
    let pod = Pod::start().await;
    let mut config = Pod::shell("");
    config.command = ["cat", "/proc/self/environ"].map(str::to_owned).to_vec();
    config.envs = vec![("data-1".to_owned(), "a b".to_owned()), ("with.dot".to_owned(), String::new())];
    let (_, text) = pod.output(config).await;
    assert!(text.contains("data-1=a b\0") && text.contains("with.dot=\0"), "{text:?}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sysctls_belong_to_the_sandbox() {
    let pod = Pod::start_with(|config| {
        config.sysctls.insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
        config.sysctls.insert("net.ipv4.tcp_syncookies".to_owned(), "0".to_owned());
    })
    .await;
    let script = "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/tcp_syncookies \
                  /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(pod.output(Pod::shell(script)).await.1, "1\n0\n0\n");
    pod.finish().await;
}
