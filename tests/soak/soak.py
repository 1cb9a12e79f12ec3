"""Thousands of random models through a round trip, in several processes; what has been done is kept in a file.

`make soak` runs it. It makes chunks of examples until there are enough of them, each chunk with a seed of its
own, so that a chunk is the same again wherever it runs. Each chunk writes one line into the progress file; to
stop the run loses only the chunks that are under way, and to start it again goes on behind the last line.

    python tests/soak/soak.py --examples 20000                  # run, or go on
    python tests/soak/soak.py --chunk-again 17                  # make chunk 17 again, shrinking its failure
    python tests/soak/soak.py --blob '6.168.0:AXic...' --size small    # one failure again
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before anything imports Keras, which reads them once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

SIZES: Mapping[str, Mapping[str, int]] = {
    "small": {"max_layers": 3, "max_models": 2, "max_cost": 4},
    "full": {},
}
"""Arguments of `tiedio.testing.strategies.recipes`: most models are small, since their number is what counts."""

CHUNK: Mapping[str, int] = {"small": 200, "full": 40}
"""Examples in a chunk."""

FULL_EVERY = 10
"""Of so many chunks, one is of full size."""

CHUNKS_OF_A_WORKER = 6
"""A process makes so many chunks and ends, so that its memory does not grow; to import takes 8 s."""


@dataclass
class Chunk:
    """What became of one chunk: a line of the progress file.

    Args:
        number: its number, which gives its seed and size.
        size: a name in `SIZES`.
        passed: how many examples came back whole.
        recipes: a digest of each distinct recipe among them.
        failures: for each failure its error, recipe and blob.
        seconds: how long it took.
    """

    number: int
    size: str
    passed: int = 0
    recipes: list[str] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    def line(self) -> str:
        """The chunk as a line of JSON."""
        return json.dumps(vars(self), sort_keys=True) + "\n"


def size_of(number: int) -> str:
    """The size of a chunk by its number."""
    return "full" if number % FULL_EVERY == FULL_EVERY - 1 else "small"


def check(recipe: Any) -> None:
    """Builds the model of a recipe and asserts that it survives a round trip."""
    import keras

    from tiedio.testing import assert_round_trip
    from tiedio.testing.strategies import build

    keras.utils.clear_session(free_memory=False)
    built = build(recipe)
    assert_round_trip(built.model, built.inputs, built.targets, training=built.trainable, second=False)


def property_of(
    number: int, size: str, check: Callable[[Any], None], examples: int, shrink: bool = False
) -> tuple[Callable[[], None], Chunk]:
    """The property test of a chunk, and the chunk that it fills while it runs."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from tiedio.testing.strategies import recipes

    chunk = Chunk(number, size)
    digests: dict[str, None] = {}

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
    )
    @given(recipe=recipes(**SIZES[size]))
    def every_model_comes_back(recipe: Any) -> None:
        chunk.failures[:] = [{"recipe": repr(recipe)}]  # for an example that does not return
        check(recipe)
        chunk.failures.clear()
        digests[hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]] = None
        chunk.passed += 1
        chunk.recipes = list(digests)

    return every_model_comes_back, chunk


def run_chunk(
    number: int,
    *,
    check: Callable[[Any], None] = check,
    examples: int | None = None,
    size: str | None = None,
    shrink: bool = False,
) -> Chunk:
    """Makes the examples of a chunk, up to the first that fails.

    Args:
        number: the number of the chunk.
        check: what is asserted of each recipe.
        examples: how many; by default as its size says.
        size: its size; by default as its number says.
        shrink: whether a failure is made small, which takes minutes.

    Returns:
        The chunk.
    """
    size = size or size_of(number)
    test, chunk = property_of(number, size, check, examples or CHUNK[size], shrink)
    start = time.monotonic()
    try:
        test()
    except Exception as error:  # noqa: BLE001 - it is what the run is there to find
        notes = "\n".join(getattr(error, "__notes__", ()))
        blob = notes.partition("@reproduce_failure(")[2].partition(")")[0]
        chunk.failures[0] |= {
            "error": f"{type(error).__name__}: {error}"[:2000],
            "blob": blob,
            "where": "".join(traceback.format_tb(error.__traceback__)[-2:]),
        }
    chunk.seconds = round(time.monotonic() - start, 3)
    return chunk


def work(numbers: list[int], progress: Path) -> None:
    """What a process does: its chunks, one after the other, each a line in the progress file."""
    prepare()
    for number in numbers:
        chunk = run_chunk(number)
        # One write of one line to a file that is open for appending: processes do not mix their lines.
        with progress.open("a") as file:
            file.write(chunk.line())


def prepare() -> None:
    """A backend that gives the same bits each time, in one thread: there is a process for each core."""
    import functools
    import typing

    import tensorflow as tf

    # Up to Python 3.11, `isinstance` with a protocol, which TensorFlow asks of every tensor, takes 15 us of this.
    if hasattr(typing, "_get_protocol_attrs"):
        vars(typing)["_get_protocol_attrs"] = functools.cache(vars(typing)["_get_protocol_attrs"])
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")  # it warns of functions that are traced often; they are different ones

    import keras

    keras.utils.set_random_seed(0)


def read(progress: Path) -> dict[int, Chunk]:
    """The chunks of a progress file; a line that was cut off when a machine stopped is no chunk."""
    chunks: dict[int, Chunk] = {}
    for line in progress.read_text().splitlines() if progress.exists() else ():
        try:
            chunk = Chunk(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
        chunks[chunk.number] = chunk
    return chunks


def summary(chunks: Mapping[int, Chunk]) -> str:
    """One line on all that was done."""
    passed = sum(chunk.passed for chunk in chunks.values())
    failed = sum(len(chunk.failures) for chunk in chunks.values())
    distinct = len({digest for chunk in chunks.values() for digest in chunk.recipes})
    full = sum(chunk.passed for chunk in chunks.values() if chunk.size == "full")
    seconds = sum(chunk.seconds for chunk in chunks.values())
    each = seconds / max(1, passed + failed)
    return (
        f"{passed} random models came back whole ({distinct} distinct, {full} of full size), {failed} did not,"
        f" in {len(chunks)} chunks; {seconds:.0f} s of one process, {each:.3f} s each"
    )


def failures(chunks: Mapping[int, Chunk]) -> Iterator[str]:
    """Each kind of failure once, with how to make it again."""
    counts = Counter(_kind(one) for chunk in chunks.values() for one in chunk.failures)
    told: set[str] = set()
    for number, chunk in sorted(chunks.items()):
        for one in chunk.failures:
            kind = _kind(one)
            if kind not in told:
                told.add(kind)
                yield (
                    f"FAILED {counts[kind]} times, first in chunk {number} ({chunk.size}):"
                    f" {one.get('error', 'ended')}\n"
                    f"@reproduce_failure({one.get('blob', '')})\n{one['recipe']}\n{one.get('where', '')}"
                )


def _kind(failure: Mapping[str, str]) -> str:
    """What makes two failures one kind: their error without the places."""
    return " ".join(word for word in failure.get("error", "").split()[:12] if "/" not in word and "[" not in word)


def run(examples: int, workers: int, folder: Path) -> int:
    """Runs until there are enough examples, going on where the progress file ends.

    Args:
        examples: how many there are to be.
        workers: how many processes.
        folder: where the progress file and the summary are.

    Returns:
        0 if every example came back whole, else 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "progress.jsonl"
    if progress.exists() and not progress.read_text().endswith("\n"):
        with progress.open("a") as file:
            file.write("\n")
    running: dict[subprocess.Popen[bytes], list[int]] = {}
    told: set[int] = set(read(progress))
    lost: Counter[int] = Counter()
    if told:
        print(f"going on: {summary(read(progress))}", flush=True)
    try:
        while True:
            chunks = read(progress)
            for number in sorted(set(chunks) - told):
                told.add(number)
                chunk = chunks[number]
                outcome = f"FAILED: {chunk.failures[0].get('error', '')[:300]}" if chunk.failures else "whole"
                total = sum(one.passed for one in chunks.values())
                print(f"chunk {number} ({chunk.size}): {chunk.passed} {outcome}; {total} so far", flush=True)
            for process in [process for process in running if process.poll() is not None]:
                for number in set(running.pop(process)) - set(chunks):
                    lost[number] += 1
                    print(f"chunk {number}: its process ended with {process.returncode}", flush=True)
            passed = sum(one.passed for one in chunks.values())
            coming = sum(CHUNK[size_of(n)] for numbers in running.values() for n in numbers if n not in chunks)
            if passed >= examples and not running:
                break
            taken = set(chunks) | {number for numbers in running.values() for number in numbers}
            taken |= {number for number, times in lost.items() if times > 1}
            while len(running) < workers and passed + coming < examples:
                fresh = (number for number in range(len(taken) + CHUNKS_OF_A_WORKER + 1) if number not in taken)
                numbers = []
                for number in fresh:
                    numbers.append(number)
                    coming += CHUNK[size_of(number)]
                    if len(numbers) == CHUNKS_OF_A_WORKER or passed + coming >= examples:
                        break
                taken.update(numbers)
                running[_start(numbers, progress)] = numbers
            if passed + coming < examples and not running:
                break  # a chunk ends its process each time
            time.sleep(1)
    finally:
        for process in running:
            process.terminate()
    chunks = read(progress)
    report = "\n".join([*failures(chunks), *(f"chunk {n} ended its process" for n in lost), summary(chunks)])
    (folder / "summary.txt").write_text(report + "\n")
    print(report, flush=True)
    return 1 if lost or any(chunk.failures for chunk in chunks.values()) else 0


def _start(numbers: list[int], progress: Path) -> subprocess.Popen[bytes]:
    given = ["--work", *map(str, numbers), "--progress", str(progress)]
    # Files are flushed to a disk for the sake of a crash; here they live for a second, best in memory.
    memory = Path("/dev/shm")
    folder = {"TMPDIR": str(memory)} if memory.is_dir() and os.access(memory, os.W_OK) else {}
    return subprocess.Popen([sys.executable, __file__, *given], env={**os.environ, **folder})


def reproduce(blob: str, size: str) -> None:
    """Makes one failure again; raises it.

    Args:
        blob: what stands in the parentheses of `@reproduce_failure`.
        size: the size of its chunk.
    """
    from hypothesis import reproduce_failure

    version, _, data = blob.partition(",")
    encoded = data.strip().removeprefix("b").strip("'\"").encode()
    prepare()
    test, _ = property_of(0, size, check, 1)
    reproduce_failure(version.strip("'\" "), encoded)(test)()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path("build/soak"))
    parser.add_argument("--chunk-again", type=int, metavar="NUMBER")
    parser.add_argument("--blob")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--work", type=int, nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.progress)
        return 0
    if options.blob:
        reproduce(options.blob, options.size)
        return 0
    if options.chunk_again is not None:
        prepare()
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TMPDIR"] = tempfile.tempdir = folder
            chunk = run_chunk(options.chunk_again, shrink=True)
        print("\n".join([*failures({chunk.number: chunk}), summary({chunk.number: chunk})]))
        return 1 if chunk.failures else 0
    return run(options.examples, options.workers, options.folder)


if __name__ == "__main__":
    sys.exit(main())
