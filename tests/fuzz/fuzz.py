"""Files made by a fuzzer: each is read or refused, by an error of the library, at once, and in bounded memory.

`make fuzz` runs it; `--help` tells the arguments. A file is made from a good one by what the fuzzer's bytes say
(tests/hostile/mutate.py), or is those bytes. What is found is written to `--findings`, one file for each kind of error.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CORPUS = Path(__file__).parent / "corpus"
SECONDS = 1.0
MIB = 1 << 20


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000, help="executions (default: 100,000)")
    parser.add_argument("--target", choices=("parse", "audit"), default="parse", help="what is run on each file")
    parser.add_argument("--every", type=int, default=50, help="of so many files one goes into load_weights or load too")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="random changes, without atheris and its coverage")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    return parser.parse_args()


class Target:
    """Runs one file through the library, and looks at what comes out."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        import tiedio
        from tests.hostile.good import Parts, parse, small_model
        from tiedio.errors import TiedioError

        self.options, self.folder, self.ours = options, folder, TiedioError
        self.path = folder / "file.safetensors"
        files = [path.read_bytes() for path in sorted(CORPUS.glob("*.safetensors"))]
        self.good = [(Parts.of(raw), raw) for raw in files]
        self.tiedio, self.parse, self.model = tiedio, parse, small_model()
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.start = time.monotonic()
        self.memory = resident()

    def one(self, raw: bytes) -> None:
        """One execution."""
        from tests.hostile.mutate import Bytes, mutant_or_bytes

        choices = Bytes(raw)
        kind = choices.below(len(self.good) + 1)
        if kind == len(self.good):
            made = raw[1:]
        else:
            parts, whole = self.good[kind]
            made = mutant_or_bytes(parts, whole, choices)
        self.path.unlink(missing_ok=True)  # a model may be mapped to the last one
        self.path.write_bytes(made)
        n = self.counts["executions"] = self.counts["executions"] + 1
        calls: list[Any] = [self.parse]
        if self.options.target == "audit":
            calls = [self.audited]
        if self.options.target == "parse" and n % 3 == 0:
            calls.append(self.tiedio.inspect if n % 2 else self.tiedio.verify)
        if n % self.options.every == 0:
            calls.append(self.load_weights if self.options.target == "parse" else self.tiedio.load)
        for call in calls:
            self.call(call, made)
        if n % 1000 == 0:
            self.look_at_memory(made)
        if n % 20_000 == 0:
            self.say()

    def load_weights(self, path: str) -> None:
        self.tiedio.load_weights(self.model, path)

    def audited(self, path: str) -> None:
        """All that happens before the first object is made, the audit of the configuration included."""
        from tests.fuzz.audited import audited

        audited(path)

    def call(self, call: Any, made: bytes) -> None:
        start = time.perf_counter()
        name = getattr(call, "__name__", "call")
        try:
            call(str(self.path))
            self.counts[f"{name}: taken"] += 1
        except self.ours as error:
            self.counts[f"{name}: refused"] += 1
            if len(str(error)) > 2_500:
                self.found(f"long text of {name}", made, str(error)[:3000])
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} in {Path(last.filename).name}-{last.lineno} of {name}"
            self.found(kind, made, traceback.format_exc())
        seconds = time.perf_counter() - start
        if name not in ("load", "load_weights"):
            self.slowest = max(self.slowest, seconds)
        if seconds > SECONDS:
            self.counts["slow"] += 1
            if name not in ("load", "load_weights"):  # a machine that does something else looks slow: once more
                start = time.perf_counter()
                with contextlib.suppress(Exception):  # it was looked at above
                    call(str(self.path))
                if time.perf_counter() - start > SECONDS:
                    self.found(f"slow {name}", made, f"{seconds} s")

    def look_at_memory(self, made: bytes) -> None:
        """The peak since the last look; Linux is told to forget it."""
        peak = resident()
        if peak - self.memory > 64 * MIB + 4 * len(made):
            self.found("memory", made, f"{(peak - self.memory) / MIB:.0f} MiB among the last 1,000 files")
            self.memory = peak

    def found(self, kind: str, made: bytes, text: str) -> None:
        self.counts[f"FOUND {kind}"] += 1
        if self.counts[f"FOUND {kind}"] == 1:
            self.options.findings.mkdir(parents=True, exist_ok=True)
            stem = "".join(c if c.isalnum() else "-" for c in kind)
            (self.options.findings / f"{stem}.safetensors").write_bytes(made)
            (self.options.findings / f"{stem}.txt").write_text(text)
            print(f"FOUND {kind}", flush=True)

    def say(self) -> None:
        took = time.monotonic() - self.start
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(self.counts.items()))
        peak = (resident() - self.memory) / MIB
        print(f"{took:.0f} s; {counts}; slowest {self.slowest:.3f} s; peak {peak:.0f} MiB", flush=True)


def resident() -> int:
    """The peak of this process's resident memory, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="tiedio-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    if options.plain:
        target = Target(options, folder)
        chance = random.Random(options.seed)
        for _ in range(options.runs):
            target.one(chance.randbytes(chance.choice((8, 24, 48, 96))))
    else:
        import atheris

        with atheris.instrument_imports(include=["tiedio"]):
            target = Target(options, folder)
        inputs = folder / "inputs"
        inputs.mkdir()
        command = [sys.argv[0], f"-runs={options.runs}", f"-seed={options.seed}", "-max_len=256", "-timeout=30"]
        command += ["-rss_limit_mb=8000", "-print_final_stats=1", str(inputs), str(CORPUS / "inputs")]
        atexit.register(target.say)
        atheris.Setup(command, target.one)
        atheris.Fuzz()
    target.say()
    return 1 if any(name.startswith("FOUND") for name in target.counts) else 0


if __name__ == "__main__":
    sys.exit(main())
