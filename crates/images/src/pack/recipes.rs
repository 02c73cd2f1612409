//! The images that demo and tests use.

use super::Recipe;
use crate::config::{Empty, ImageConfig};

/// The server of the image `echo`, compiled by the build script.
const ECHO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo"));
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
                      www-data:x:33:33:www-data:/var/www:/bin/false\nnginx:x:101:101:nginx:/nonexistent:/bin/false\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nnginx:x:101:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

const NGINX_CONF: &str = "\
user nginx;
worker_processes auto;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;

events {
    worker_connections 1024;
}

http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format main '$remote_addr - $remote_user [$time_local] \"$request\" '
                    '$status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"';
    access_log /var/log/nginx/access.log main;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
";
const NGINX_SITE: &str = "\
server {
    listen 80;
    listen [::]:80;
    server_name localhost;
    root /usr/share/nginx/html;
    index index.html index.htm;
}
";

/// A shell and the usual small programs, in one static binary.
pub fn busybox() -> Recipe {
    Recipe {
        names: vec!["busybox:latest".to_owned()],
        config: ImageConfig { env: vec![PATH.to_owned()], cmd: vec!["sh".to_owned()], ..ImageConfig::default() },
        ..base()
    }
}

/// nginx as in the image everybody knows: port 80, the welcome page, logs on standard output and error.
pub fn nginx() -> Recipe {
    let mut recipe = base();
    recipe.names = vec!["nginx:latest".to_owned()];
    recipe.packages.extend(
        ["nginx", "nginx-common", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"].map(str::to_owned),
    );
    recipe.programs.push("/usr/sbin/nginx".to_owned());
    recipe.keep = ["/etc/nginx/mime.types", "/usr/share/nginx/html"].map(str::to_owned).to_vec();
    let directories = ["/etc/nginx/conf.d", "/var/lib/nginx", "/var/log/nginx", "/var/www", "/run"];
    recipe.directories.extend(directories.map(|path| (path.to_owned(), 0o755, 0)));
    recipe.files.push(("/etc/nginx/nginx.conf".to_owned(), 0o644, NGINX_CONF.to_owned()));
    recipe.files.push(("/etc/nginx/conf.d/default.conf".to_owned(), 0o644, NGINX_SITE.to_owned()));
    recipe.links.push(("/var/log/nginx/access.log".to_owned(), "/dev/stdout".to_owned()));
    recipe.links.push(("/var/log/nginx/error.log".to_owned(), "/dev/stderr".to_owned()));
    recipe.config = ImageConfig {
        env: vec![PATH.to_owned()],
        cmd: ["/usr/sbin/nginx", "-g", "daemon off;"].map(str::to_owned).to_vec(),
        exposed_ports: [("80/tcp".to_owned(), Empty {})].into(),
        stop_signal: "SIGQUIT".to_owned(),
        ..ImageConfig::default()
    };
    recipe
}

/// A small HTTP server that tells who it is, on port 8080.
pub fn echo() -> Recipe {
    let mut recipe = base();
    recipe.names = vec!["tiphys/echo:latest".to_owned()];
    recipe.own_programs.push(("/echo".to_owned(), ECHO));
    recipe.config = ImageConfig {
        env: vec![PATH.to_owned()],
        entrypoint: vec!["/echo".to_owned()],
        exposed_ports: [("8080/tcp".to_owned(), Empty {})].into(),
        ..ImageConfig::default()
    };
    recipe
}

/// What every image here has: busybox for a shell, accounts, and the usual directories.
fn base() -> Recipe {
    Recipe {
        packages: vec!["busybox-static".to_owned()],
        programs: vec!["/bin/busybox".to_owned()],
        busybox_applets: Some("/bin".to_owned()),
        directories: [
            ("/tmp", 0o1777),
            ("/var/tmp", 0o1777),
            ("/root", 0o700),
            ("/dev", 0o755),
            ("/proc", 0o755),
            ("/sys", 0o755),
            ("/home", 0o755),
        ]
        .map(|(path, mode)| (path.to_owned(), mode, 0))
        .to_vec(),
        files: [("/etc/passwd", PASSWD), ("/etc/group", GROUP), ("/etc/nsswitch.conf", NSSWITCH)]
            .map(|(path, content)| (path.to_owned(), 0o644, content.to_owned()))
            .to_vec(),
        ..Recipe::default()
    }
}
