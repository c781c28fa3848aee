"""The Debian package `edgeface-device`: the runtime in a virtual environment of its own, and its service.

`python -m firmware.package --release bookworm --architecture arm64` builds it on any Debian-like machine with
pip and dpkg-deb; nothing of the other architecture runs. `files/` holds what is copied into it as it stands;
the units, udev rules and users are those of `firmware/systemd`.
"""
