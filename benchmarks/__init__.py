"""Comparisons and timings; every figure in README and docs comes from a run of one of these modules."""
