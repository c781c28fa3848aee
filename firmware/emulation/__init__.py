"""ARM boards without the boards: what other machines run, run here under QEMU.

- `roots`: Debian arm64 roots of two releases and aarch64 wheels for them, kept in a cache.
- `guest`: a command in such a root under a chosen processor (`qemu-aarch64`): results, not speed.
- `machine`: a whole board that counts its instructions (`qemu-system-aarch64`).
- `raspberry_pi`: a Raspberry Pi 3 with its own device tree, which starts from a card.
- `powercut`: every disk that a power cut can leave of a board, out of the log of its writes.
- `system`: such a board under a real systemd, and what it does there (`scenario`).

Needs Linux on x86-64, the rights of root (a container's are enough), `mmdebstrap`, and a network for what the
cache lacks. `tests/device`, `tests/firmware` and `benchmarks/arm_instructions` stand on it.
"""
