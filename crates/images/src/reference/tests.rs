//! Normalisation and refusals, compared with what Docker does.

use super::Reference;

#[track_caller]
fn check(text: &str, full: &str, familiar: &str) {
    let reference: Reference = text.parse().expect("a valid reference");
    assert_eq!(reference.to_string(), full);
    assert_eq!(reference.familiar(), familiar);
    assert_eq!(full.parse::<Reference>().expect("the normal form parses"), reference);
}

#[test]
fn normalises_as_docker() {
    let digest = format!("sha256:{}", "a".repeat(64));
    check("nginx", "docker.io/library/nginx:latest", "nginx:latest");
    check("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25");
    check("team/app", "docker.io/team/app:latest", "team/app:latest");
    check("index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest");
    check("localhost/app", "localhost/app:latest", "localhost/app:latest");
    check("localhost:5000/a/b:v1", "localhost:5000/a/b:v1", "localhost:5000/a/b:v1");
    check("[::1]:5000/a:v1", "[::1]:5000/a:v1", "[::1]:5000/a:v1");
    check("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10");
    check(&format!("nginx:1@{digest}"), &format!("docker.io/library/nginx@{digest}"), &format!("nginx@{digest}"));
    check("a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest");
}

#[test]
fn refuses_what_docker_refuses() {
    for text in [
        "",
        ":latest",
        "Nginx",
        "nginx:",
        "nginx:-x",
        "nginx@sha256:12",
        "a//b",
        "../x",
        "a/../b",
        "a b",
        "-a",
        "a-",
        "reg.io:/x",
        "reg.io:5000/",
        "a.io/UP",
        "a..io/x",
        "nginx@md5:d41d8cd98f00b204e9800998ecf8427e",
        "a/b:c/d:e",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
    }
    assert!(format!("a:{}", "b".repeat(129)).parse::<Reference>().is_err());
    assert!("a".repeat(300).parse::<Reference>().is_err());
}
