#!/bin/sh
# Makes a Raspberry Pi with a screen a kiosk, out of the files beside it: the package edgeface-device, what belongs into
# /etc/edgeface, and the browser's session. Run by cloud-init at first boot, by the image's layer, or by hand as
# root; to run it again changes nothing. Its files are followed in a test, it was never run on a board.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${DESTDIR:-}
export DEBIAN_FRONTEND=noninteractive

set -- "$here"/edgeface-device_*_arm64.deb
if [ $# -ne 1 ] || [ ! -e "$1" ]; then
    echo "install.sh: exactly one edgeface-device_*_arm64.deb belongs into $here; python -m firmware.package builds it" >&2
    exit 1
fi
apt-get update
apt-get install -y --no-install-recommends "$1" cage chromium curl

# After the package: its own service.env must not be asked about.
install -d "$root/etc/edgeface"
for name in service.env root.json update.json keys.json; do
    [ ! -e "$here/$name" ] || install -m 0644 "$here/$name" "$root/etc/edgeface/$name"
done

install -D -m 0644 "$here/edgeface-kiosk.sysusers" "$root/usr/lib/sysusers.d/edgeface-kiosk.conf"
install -D -m 0644 "$here/edgeface-kiosk.service" "$root/etc/systemd/system/edgeface-kiosk.service"
install -D -m 0755 "$here/edgeface-read-only" "$root/usr/local/sbin/edgeface-read-only"
systemd-sysusers edgeface-kiosk.conf
systemctl enable edgeface.service edgeface-update.timer edgeface-kiosk.service
systemctl set-default graphical.target

# While an image is made nothing runs yet.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl restart edgeface.service
    systemctl --no-block isolate graphical.target
fi
