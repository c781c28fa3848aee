"""Published networks, restated: a module each, with its parameters called as in the checkpoints.

A module is named by the key ``network`` of an adapter's .toml file and has one function for the seam,
``network(adapter, state) -> nn.Module``: the net in which `state` is laid, whose ``forward`` takes the
adapter's input and gives its output as one tensor. `quantization.teachers.checkpoint` does the rest.
"""
