"""Writes the corpus of the fuzzer: small good files, and short inputs that change them in every way there is."""

from __future__ import annotations

import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CORPUS = Path(__file__).parent / "corpus"
GOLDEN = ("own_hooks", "several_roots", "views_of_one_matrix", "loss_scale")


def main() -> None:
    """Writes the files anew; the same ones each time."""
    from tests.hostile.good import Parts, good, weights_only

    files = {"small": good().parts, "weights": weights_only()}
    for name in GOLDEN:
        files[name] = Parts.of((ROOT / "tests" / "golden" / "4" / f"{name}.safetensors").read_bytes())
    CORPUS.mkdir(exist_ok=True)
    for name, parts in files.items():
        # Without the spaces that fill up a header to a page.
        (CORPUS / f"{name}.safetensors").write_bytes(parts.built())
    inputs = CORPUS / "inputs"
    inputs.mkdir(exist_ok=True)
    chance = random.Random(1)
    for n in range(32):
        (inputs / f"{n:02}").write_bytes(bytes([n % (len(files) + 1), n % 16]) + chance.randbytes(30))


if __name__ == "__main__":
    main()
