"""EdgeFace beside everything that its users would pick instead, in one run and one table.

    python -m benchmarks.peers --data FOLDER --out benchmarks/results/peers-BOARD.json

`catalogue` names the peers, `rounds` times them in turns on the same frames, `accuracy` asks the same sides
about labelled photos, `result` puts both together: a speed without its accuracy is not shown.
"""
