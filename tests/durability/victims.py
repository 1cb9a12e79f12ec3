"""Saves in processes that are killed: a process without Keras forks them, and looks at what each one left.

    python -m tests.durability.victims kills FOLDER OLD NEW --random 10
    python -m tests.durability.victims race FOLDER OLD NEW --saves 200

Each line that it prints is one outcome, as JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import tiedio
from tests.durability.faults import Layer, Strike, die, interrupt, moments
from tests.durability.scenes import NAME, SCENES, Scene, Version, digest_of, litter_in, state_of
from tiedio.container.single import open_reader


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a strike left.

    Args:
        scene: the way of saving, in words.
        calls: the calls that a save makes that nothing strikes.
        moment: where it was struck.
        state: what the path held.
        litter: how many other files there were.
        problem: what should not be, or nothing.
    """

    scene: str
    calls: tuple[str, ...]
    moment: str
    state: str
    litter: int
    problem: str = ""


def forked(act: Callable[[], None]) -> int:
    """Runs something in a process of its own; returns its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            act()
            code = 0
        except KeyboardInterrupt:
            code = 2
        except Exception:  # noqa: BLE001 - whoever waits sees the code only
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """The exit code of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def examined(
    scene: Scene, calls: tuple[str, ...], moment: str, path: Path, old: Version, new: Version, problem: str
) -> Outcome:
    """Looks at what was left, and whether the next save works and cleans up."""
    state = state_of(path, old, new)
    litter = len(litter_in(path.parent))
    if state not in scene.allowed:
        problem = problem or f"found {state}"
    expected = {"old": old, "new": new}.get(state)
    if expected is not None and "keras" in sys.modules and not loads_whole(path, expected):
        problem = problem or f"{state} does not load as it was saved"
    # The next save comes to the path as it was left, and without the layer.
    old.save(path, overwrite=True)
    if state_of(path, old, new) != "old" or litter_in(path.parent):
        problem = problem or f"the next save left {litter_in(path.parent)}"
    return Outcome(scene.name, calls, moment, state, litter, problem)


Save: TypeAlias = Callable[[Scene, Path, Layer], None]


def struck(
    folder: Path, old: Version, new: Version, strike: Strike, code: int, save: Save, scenes: int, every: int
) -> Iterator[Outcome]:
    """Ways of saving, struck at every moment of them, or at every n-th; the process has to end with the code."""
    for scene in SCENES[:scenes]:
        calls = counted(folder, old, scene, save)
        for at, when in moments(calls)[::every]:
            path = scene.prepare(fresh(folder), old)
            result = ended(forked(functools.partial(save, scene, path, Layer(at, when, strike))))
            problem = "" if result == code else f"the process ended with {result}, not {code}"
            yield examined(scene, calls, f"{when} {calls[at]} (call {at})", path, old, new, problem)


def counted(folder: Path, old: Version, scene: Scene, save: Save) -> tuple[str, ...]:
    """The calls that a save makes."""
    path = scene.prepare(fresh(folder), old)
    layer = Layer()
    seen, tell = os.pipe()

    def act() -> None:
        save(scene, path, layer)
        os.write(tell, "\n".join(layer.calls).encode())

    assert ended(forked(act)) == 0
    os.close(tell)
    with open(seen) as file:
        return tuple(file.read().split("\n"))


def killed_at_random(folder: Path, old: Version, new: Version, count: int, seed: int) -> Iterator[Outcome]:
    """Processes that save both versions in turn, killed after a random time."""
    scene = SCENES[0]
    rng = random.Random(seed)
    longest = 3 * timed(folder, old)
    for _ in range(count):
        path = scene.prepare(fresh(folder), old)
        ready, told = os.pipe()

        def save_on(path: Path = path, told: int = told) -> None:
            os.write(told, b".")
            while True:
                new.save(path)
                old.save(path)

        pid = forked(save_on)
        os.read(ready, 1)
        time.sleep(rng.uniform(0, longest))
        os.kill(pid, signal.SIGKILL)
        result = ended(pid)
        os.close(ready)
        os.close(told)
        problem = "" if result == -signal.SIGKILL else f"the process ended with {result}"
        yield examined(scene, (), "a random moment", path, old, new, problem)


def timed(folder: Path, version: Version) -> float:
    """How many seconds a save takes here."""
    path = fresh(folder) / NAME
    begin = time.perf_counter()
    for _ in range(5):
        version.save(path)
    return (time.perf_counter() - begin) / 5


def keras_save(source: Path) -> Save:
    """Saves by `tiedio.save` what it loads from a file: to be run only in forked processes.

    Keras is imported here, and nothing run with it, so that TensorFlow has no threads when this process forks.
    """
    from tiedio import proof

    def save(scene: Scene, path: Path, layer: Layer) -> None:
        model = tiedio.load(source)
        prove = proof.prove
        # The check that runs between writing and syncing is one step: what it opens is none of the file.
        vars(proof)["prove"] = lambda *given: layer.run("proof", lambda: prove(*given))
        with scene.layered(layer):
            tiedio.save(model, path, overwrite=scene.overwrite)

    return save


def loads_whole(path: Path, expected: Version) -> bool:
    """Whether `tiedio.load`, in a process of its own, gives a tied model that is saved as the same bytes."""

    def act() -> None:
        from tests.durability.models import assert_tied

        model = tiedio.load(path)
        assert_tied(model)
        again = path.with_name("again.safetensors")
        tiedio.save(model, again)
        found = digest_of(again)
        again.unlink()
        assert found == expected.digest

    return ended(forked(act)) == 0


def race(folder: Path, old: Version, new: Version, saves: int) -> dict[str, int]:
    """Two processes save to one path while two others read it, until there were enough saves and stdin is closed."""
    path = fresh(folder) / NAME
    old.save(path)
    seen, tell = os.pipe()
    stop, stopping = os.pipe()

    def begin(work: Callable[[], None]) -> None:
        os.close(stopping)  # else its end would never be seen
        work()

    def going_on() -> bool:
        return not select.select([stop], [], [], 0)[0]

    def save_on(version: Version) -> None:
        while going_on():
            version.save(path)
            os.write(tell, b"s")

    def read_on(mmap: bool) -> None:
        while going_on():
            with open_reader(path, mmap=mmap, verify=True) as reader:
                for name in reader.header.entries:
                    reader.bytes_of(name)
            state = state_of(path, old, new)
            os.write(tell, {"old": b"o", "new": b"n"}.get(state, b"x"))
            tiedio.verify(path)

    works: list[Callable[[], None]] = [
        lambda: save_on(old),
        lambda: save_on(new),
        lambda: read_on(True),
        lambda: read_on(False),
    ]
    pids = [forked(functools.partial(begin, work)) for work in works]
    print('"ready"', flush=True)
    counts = dict.fromkeys("sonx", 0)
    waiting = [seen, sys.stdin.fileno()]
    while counts["s"] < saves or sys.stdin.fileno() in waiting:
        for ready in select.select(waiting, [], [])[0]:
            if ready != seen:
                if not os.read(ready, 1):
                    waiting.remove(ready)
                continue
            for letter in os.read(seen, 4096).decode():
                counts[letter] += 1
    os.close(stopping)
    codes = [ended(pid) for pid in pids]
    os.close(tell)
    return {
        "saves": counts["s"],
        "old": counts["o"],
        "new": counts["n"],
        "neither": counts["x"],
        "failed": sum(code != 0 for code in codes),
        "litter": len(litter_in(folder)),
    }


def lines(given: argparse.Namespace) -> Iterator[Any]:
    """What the arguments ask for."""
    old, new = Version.of(given.old), Version.of(given.new)
    folder: Path = given.folder
    if given.what == "race":
        yield race(folder, old, new, given.saves)
        return
    strike, code = (interrupt, 2) if given.what == "interrupts" else (die, -signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins deaf to it
    save = keras_save(given.new) if given.keras else lambda scene, path, layer: scene.save(path, new, layer)
    yield from map(asdict, struck(folder, old, new, strike, code, save, given.scenes, given.every))
    yield from map(asdict, killed_at_random(folder, old, new, given.random, given.seed))


def main() -> None:
    """Runs what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["kills", "interrupts", "race"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--scenes", type=int, default=len(SCENES), help="only so many ways of saving")
    parser.add_argument("--every", type=int, default=1, help="strike at every n-th moment only")
    parser.add_argument("--random", type=int, default=0, help="so many kills at random moments, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--saves", type=int, default=200)
    parser.add_argument("--keras", action="store_true", help="save by tiedio.save, and load what is left")
    for line in lines(parser.parse_args()):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
