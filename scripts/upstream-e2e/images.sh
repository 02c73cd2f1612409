# The images that the suite asks for by their names of old, packed from Debian packages and from what `run` builds.
# Sourced by `run`, in its work directory; $tiphys is the program.

path='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'
images=kubernetes/test/images
old=gcr.io/kubernetes-e2e-test-images

# recipe NAME < RECIPE: packs one image, unless it is there.
recipe() {
  cat >"recipes/$1.yaml"
  [ -e "archives/$1.tar" ] || "$tiphys" image pack "recipes/$1.yaml" --output "archives/$1.tar"
}

# page NAME: a web page served by agnhost under the name of its colour or animal.
page() {
  recipe "$1" <<EOF
names: ["$old/$1:1.0"]
copy: {/test-webserver: agnhost, /data.json: $images/$1/html/data.json, /$1.jpg: $images/$1/html/$1.jpg}
config: {Entrypoint: [/test-webserver, test-webserver], Env: [$path]}
EOF
}

pack_images() {
  mkdir -p recipes archives
  recipe agnhost <"$here/agnhost.yaml"
  page nautilus
  page kitten
  recipe pause <<EOF
names: ["k8s.gcr.io/pause:3.2"]
copy: {/pause: agnhost}
config: {Entrypoint: [/pause, pause], Env: [$path]}
EOF
  recipe nonewprivs <<EOF
names: ["$old/nonewprivs:1.0"]
copy: {/usr/local/bin/nnp: nnp}
config: {Entrypoint: [/usr/local/bin/nnp], Env: [$path]}
EOF
  recipe sample-apiserver <<EOF
names: ["$old/sample-apiserver:1.17"]
copy: {/kube-sample-apiserver: sample-apiserver}
config: {Entrypoint: [/kube-sample-apiserver], Env: [$path]}
EOF
  recipe etcd <<EOF
names: ["k8s.gcr.io/etcd:3.4.13-0"]
packages: [etcd-server]
dependencies: true
programs: [/usr/bin/etcd]
links: [[/usr/local/bin/etcd, /usr/bin/etcd]]
config: {Cmd: [etcd], Env: [$path]}
EOF
  recipe redis <<EOF
names: ["docker.io/library/redis:5.0.5-alpine"]
packages: [redis-server, redis-tools, busybox-static]
dependencies: true
programs: [/usr/bin/redis-server, /usr/bin/redis-cli, /bin/busybox]
busyboxApplets: /bin
config: {Cmd: [redis-server], Env: [$path]}
EOF
  recipe nonroot <<EOF
names: ["$old/nonroot:1.0"]
packages: [busybox-static]
programs: [/bin/busybox]
busyboxApplets: /bin
config: {User: "1234", Env: [$path]}
EOF
  [ -e archives/busybox.tar ] || "$tiphys" image pack busybox --output archives/busybox.tar
  [ -e archives/nginx.tar ] || "$tiphys" image pack nginx --output archives/nginx.tar
}

# import_images DIR: puts them into the cluster of the data directory DIR.
import_images() {
  local archive library=docker.io/library
  for archive in agnhost nautilus kitten pause nonewprivs sample-apiserver etcd redis nonroot; do
    "$tiphys" image --data-dir "$1" import "archives/$archive.tar"
  done
  "$tiphys" image --data-dir "$1" import archives/agnhost.tar --tag "$old/jessie-dnsutils:1.0"
  "$tiphys" image --data-dir "$1" import archives/busybox.tar --tag $library/busybox:1.29
  # The suite rolls from one version to the next and looks at names only.
  "$tiphys" image --data-dir "$1" import archives/nginx.tar \
    --tag $library/httpd:2.4.38-alpine --tag $library/httpd:2.4.39-alpine \
    --tag $library/nginx:1.14-alpine --tag $library/nginx:1.15-alpine
}
