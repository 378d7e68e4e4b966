#!/bin/sh
# Makes image.tar: of the Dockerfile where docker or podman runs, else the same image by umoci around Debian's static busybox.
set -eu
cd "$(dirname "$0")"
for tool in docker podman; do
  if "$tool" info > /dev/null 2>&1; then
    "$tool" build --quiet --tag hearth-example .
    "$tool" save --output image.tar hearth-example
    exit
  fi
done
if ! busybox="$(command -v busybox)" || ! command -v umoci > /dev/null; then
  echo "Needs docker or podman, or umoci and a static busybox: apt-get install umoci busybox-static" >&2
  exit 1
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
image="$work/layout:hearth-example"
umoci init --layout "$work/layout"
umoci new --image "$image"
umoci unpack --rootless --image "$image" "$work/bundle"
mkdir -p "$work/bundle/rootfs/bin"
cp "$busybox" "$work/bundle/rootfs/bin/busybox"
ln -s busybox "$work/bundle/rootfs/bin/sh"
cp -R www "$work/bundle/rootfs/www"
umoci repack --image "$image" "$work/bundle"
umoci config --image "$image" --config.env "GREETING=Hello from a container" --config.workingdir /www \
  --config.entrypoint /bin/busybox --config.entrypoint httpd --config.entrypoint -f \
  --config.entrypoint -p --config.entrypoint 8080 --config.entrypoint -h --config.entrypoint /www
umoci gc --layout "$work/layout"
tar -C "$work/layout" -cf image.tar .
