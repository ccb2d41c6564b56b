"""One prepared run on one large GPU without a network, of twelve minutes at most: what nothing else
can measure.

    python -m tests.training.gpu pack FOLDER      # here: what that machine lacks
    python -m tests.training.gpu [--small] [--part PART ...] [--base FOLDER] [--out FILE]
    python -m tests.training.gpu table            # docs/training.md, of docs/gpu.json

Random weights in the shape of a 7B model, random tokens in windows of up to 8,192. Each part is a
process of its own with a limit; what fails, takes too long or no longer fits is named and stops
nothing else. `--small` is a tiny shape, for a CPU.
"""
