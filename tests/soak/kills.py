"""Saves killed more than a thousand times, two hundred in a race, loadings struck at every line, every bit flipped.

`make soak` runs it first. Each part prints one line of what it did; the first thing that is wrong ends it with code 1.
docs/durability.md says what the parts are, and has the figures.

    python tests/soak/kills.py                       # all of it
    python tests/soak/kills.py --only saves --random 1000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before anything imports Keras, which reads them once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {"36 KB": 32, "1.3 MB": 320, "17 MB": 1200}
"""Models of three sizes; the disk is told of the last one while it grows."""


def victims(what: str, folder: Path, files: tuple[Path, Path], *options: str) -> Iterator[dict[str, Any]]:
    """What a process of `tests.durability.victims` tells, one line after the other."""
    command = [sys.executable, "-m", "tests.durability.victims", what, str(folder / "work"), *map(str, files), *options]
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # they would not be there in what it forks
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **threads}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")


def told(name: str, found: list[dict[str, Any]], seconds: float) -> list[str]:
    """Prints what came of kills; returns what should not be."""
    states = Counter(one["state"] for one in found)
    held = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    littered = sum(one["litter"] > 0 for one in found)
    print(
        f"{name}: {len(found)} times; found {held}; litter after {littered}, all removed ({seconds:.0f} s)", flush=True
    )
    return [f"{name}: {one['scene']}, {one['moment']}: {one['problem']}" for one in found if one["problem"]]


def saves(folder: Path, files: dict[str, tuple[Path, Path]], count: int, seed: int) -> list[str]:
    """Kills and interrupts; returns what should not be."""
    parts = [(f"killed, {size}", "kills", size, ["--random", str(count // 3)]) for size in files]
    parts += [("killed, tiedio.save of 1.3 MB", "kills", "1.3 MB", ["--keras"])]
    parts += [(f"interrupted, {size}", "interrupts", size, []) for size in files]
    parts += [("interrupted, tiedio.save of 1.3 MB", "interrupts", "1.3 MB", ["--keras", "--scenes", "1"])]
    wrong: list[str] = []
    killed = 0
    for name, what, size, options in parts:
        begin = time.perf_counter()
        found = list(victims(what, folder, files[size], "--seed", str(seed), *options))
        wrong += told(name, found, time.perf_counter() - begin)
        killed += len(found) if what == "kills" else 0
        if what == "kills" and "--keras" not in options:
            calls = {one["scene"]: one["calls"] for one in found if one["moment"] != "a random moment"}
            print("  calls of a save: " + ", ".join(f"{len(all_of)} ({scene})" for scene, all_of in calls.items()))
    print(f"{killed} kills in all, {len(wrong)} left something wrong", flush=True)
    return wrong


def race(folder: Path, files: tuple[Path, Path], count: int) -> list[str]:
    """Saves of two processes to one path, while two others read it and this one loads; returns what should not be."""
    import tiedio
    from tests.durability.models import assert_tied, values

    whole = [values(tiedio.load(path)) for path in files]
    command = [sys.executable, "-m", "tests.durability.victims", "race", str(folder / "race"), *map(str, files)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--saves", str(count)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == "ready"
        loads = [0, 0]
        for number in range(count):
            model = tiedio.load(folder / "race" / "model.safetensors", mmap=number % 2 == 0, verify=number % 3 == 0)
            assert_tied(model)
            loads[whole.index(values(model))] += 1
        found = json.loads(process.communicate()[0])
    readers = found["old"] + found["new"]
    print(
        f"race: {found['saves']} saves of two processes; {count} loads by tiedio.load ({loads[0]} old, {loads[1]} new) "
        f"and {readers} by readers without Keras ({found['old']} old, {found['new']} new), each of one whole version",
        flush=True,
    )
    return [f"race: {name} is {found[name]}" for name in ("neither", "failed", "litter") if found[name]]


def loads(folder: Path) -> list[str]:
    """Loadings struck at each line that they run with the model touched; returns what should not be."""
    from tests.durability.load_cases import CASES, strike

    wrong: list[str] = []
    times = lines = whole = 0
    begin = time.perf_counter()
    for case in CASES:
        struck = strike(case, folder, lambda wire: list(wire.moments()))
        times, lines, whole = times + struck.times, lines + struck.lines, whole + struck.whole
        wrong += [f"load_weights, {case.name}: {one}" for one in struck.wrong]
    print(
        f"load_weights: {len(CASES)} loadings struck {times} times at {lines} lines; {times - whole - len(wrong)} left "
        f"the model as it was, {whole} came when all was loaded ({time.perf_counter() - begin:.0f} s)",
        flush=True,
    )
    return wrong


def bits(path: Path) -> list[str]:
    """Every single bit of a file of `tiedio.save`, flipped; returns what should not be."""
    import tiedio
    from tiedio.container.header import read_header

    raw, header = path.read_bytes(), read_header(path)
    at = {header.data_start + n: one.name for one in header.entries.values() for n in range(one.start, one.stop)}
    wrong: list[str] = []
    begin = time.perf_counter()
    with path.open("r+b", buffering=0) as file:
        for place, bit in ((place, bit) for place in range(len(raw)) for bit in range(8)):
            os.pwrite(file.fileno(), bytes([raw[place] ^ 1 << bit]), place)
            try:
                tiedio.verify(path)
                wrong.append(f"bit {bit} of byte {place} is not seen")
            except tiedio.DamagedError as error:
                # A bit of a digest is one of the header, and its tensor no longer agrees with it.
                if error.header is (place in at) or (place in at and error.tensors != (at[place],)):
                    wrong.append(f"bit {bit} of byte {place} is told as one of {error.tensors or 'the header'}")
            except tiedio.FormatError:
                if place in at:
                    wrong.append(f"bit {bit} of byte {place} is told as one of the header")
            os.pwrite(file.fileno(), raw[place : place + 1], place)
    tiedio.verify(path)
    print(
        f"bits: {8 * len(raw)} flipped, {8 * len(at)} of them in {len(header.entries)} tensors, {len(wrong)} not found "
        f"or told wrongly ({time.perf_counter() - begin:.0f} s)",
        flush=True,
    )
    return wrong


def main() -> None:
    """Runs all parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=450, help="kills at random moments, beside those at every call")
    parser.add_argument("--saves", type=int, default=200, help="saves, and loads by Keras, in the race")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--only", choices=["saves", "race", "loads", "bits"])
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.durability.models import save_versions

    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tiedio-kills-") as name:
        folder = Path(name)
        files = {}
        for size, width in WIDTHS.items():
            (folder / size).mkdir()
            files[size] = save_versions(folder / size, width)
            actual = files[size][0].stat().st_size
            print(f"a model of {size}: {actual} bytes", flush=True)
        print(f"seed {given.seed}", flush=True)
        if given.only in (None, "saves"):
            wrong += saves(folder, files, given.random, given.seed)
        if given.only in (None, "race"):
            wrong += race(folder, files["1.3 MB"], given.saves)
        if given.only in (None, "loads"):
            wrong += loads(folder)
        if given.only in (None, "bits"):
            wrong += bits(files["36 KB"][0])
    print("\n".join(wrong[:50]) or "nothing was wrong", flush=True)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
