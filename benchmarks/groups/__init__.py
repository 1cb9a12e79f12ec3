"""The groups of measures: each module has `measure(plan)`, and functions that `benchmarks.child` runs for it."""

ORDER = (
    "sizes",
    "first_use",
    "layers",
    "ties",
    "saving",
    "memory_use",
    "processes",
    "training",
    "checkpoints",
    "peers",
    "architectures",
)
"""In this order they run."""
