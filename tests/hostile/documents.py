"""Hostile manifests, structures and training records: what no writer writes, in JSON that is sealed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.hostile.generators import ALL, BUILDING, hostile, of_document, of_text
from tests.hostile.good import good

Change = Callable[[Any], Any]
ESC = "\x1b[2J"
LONG = "n" * 1_000_000


def manifest(name: str, change: Change, says: str, calls: tuple[str, ...] = ALL, kind: str = "FormatError") -> None:
    hostile(f"a manifest with {name}", of_document("manifest", change), says, calls, kind)


def structure(
    name: str, change: Change, says: str, kind: str = "FormatError", calls: tuple[str, ...] = BUILDING
) -> None:
    hostile(f"a structure with {name}", of_document("structure", change), says, calls, kind)


def training(name: str, change: Change, says: str, kind: str = "FormatError") -> None:
    hostile(f"a training record with {name}", of_document("training", change), says, BUILDING, kind)


def kernel(document: Any) -> Any:
    return document["variables"][0]


def view(document: Any) -> Any:
    return kernel(document)["slots"][2]["view"]


# --- JSON -----------------------------------------------------------------------------------------------
for _document, _calls in {"manifest": ALL, "structure": BUILDING, "training": BUILDING}.items():
    for _what, _text, _says in (
        ("that is empty", "", "not JSON"),
        ("that is cut", '{"a":', "not JSON"),
        ("that is a list", "[]", "wrong kind of value|no format version"),
        ("that is null", "null", "wrong kind of value|no format version"),
        ("of brackets that never close", "[" * 500_000, "too deep|more memory"),
        ("of objects without end", '{"a":' * 400_000, "too deep|more memory"),
        ("with a raw line break", '{"a\nb":1}', "not JSON"),
        ("with text behind it", "{} {}", "not JSON"),
    ):
        hostile(f"a {_document} {_what}", of_text(_document, lambda _, text=_text: text), _says, _calls)  # type: ignore[misc]
    for _what, _text, _says in (
        ("a key that stands twice", '{"format":4,"format":4,', "stands twice.*'format'"),
        ("a key that stands twice, once escaped", '{"a":1,"\\u0061":1,', "stands twice.*'a'"),
        ("NaN", '{"a":NaN,', "not finite"),
        ("infinity", '{"a":-Infinity,', "not finite"),
        ("a number that becomes infinite", '{"a":1e999,', "too large"),
        ("an integer beyond 64 bits", '{"a":99999999999999999999,', "too large"),
        ("an integer of a million digits", f'{{"a":{"9" * 10**6},', "too large"),
        ("a fraction of a million digits", f'{{"a":0.{"9" * 10**6},', "too long"),
        ("half of a surrogate pair", '{"a":"\\ud800",', "surrogate"),
        ("half of a surrogate pair in a key", '{"\\udc00":1,', "surrogate"),
        ("an unknown key", '{"unknown":1,', "unknown key.*'unknown'"),
        ("an unknown key that a terminal obeys", '{"\\u001b[2J":1,', "unknown key"),
        ("an unknown key of a megabyte", f'{{"{LONG}":1,', "unknown key"),
        ("lists nested 400 deep", f'{{"a":{"[" * 400}{"]" * 400},', "nests too deep|unknown key"),
    ):
        hostile(
            f"a {_document} with {_what}",
            of_text(_document, lambda good_text, text=_text: text + good_text[1:]),  # type: ignore[misc]
            _says,
            _calls,
        )

# --- kinds of values ------------------------------------------------------------------------------------
for _what, _wrong in {"true": True, "a float": 2.0, "text": "2", "null": None, "a list": [2], "an object": {}}.items():
    manifest(f"{_what} for a size", lambda m, wrong=_wrong: kernel(m).update(shape=[3, wrong]), "wrong kind of value")  # type: ignore[misc]
    training(f"{_what} for a model", lambda t, wrong=_wrong: t["models"][0].update(model=wrong), "wrong kind of value")  # type: ignore[misc]
for _what, _wrong in {"true": True, "a float": 4.0, "text": "4", "null": None, "a list": [4], "5": 5, "-4": -4}.items():
    manifest(f"{_what} for its version", lambda m, wrong=_wrong: m.update(format=wrong), "version|newer format")  # type: ignore[misc]
manifest("a negative size", lambda m: kernel(m).update(shape=[-3, -2]), "negative size")
manifest("a size of 2 to the power of 62", lambda m: kernel(m).update(shape=[2**62, 2]), "differs from|does not fit")
manifest("300,000 sizes", lambda m: kernel(m).update(shape=[1] * 300_000), "does not fit its variable")
manifest("a dtype that is unknown", lambda m: kernel(m).update(dtype="float31"), "differs from the manifest")
manifest("a dtype of a megabyte", lambda m: kernel(m).update(dtype=LONG), "differs from the manifest")
manifest("1 for a flag", lambda m: kernel(m).update(trainable=1), "wrong kind of value")

# --- what contradicts itself ----------------------------------------------------------------------------
manifest("no roots", lambda m: m.update(roots=[]), "roots are not one model")
manifest("two roots of which one has no name", lambda m: m["roots"].append({"name": "a", "path": ""}), "roots are not")
manifest("two roots of one name", lambda m: m.update(roots=[{"name": "a", "path": ""}] * 2), "two roots have one name")
manifest("a root that is no object", lambda m: m["roots"][0].update(path="nowhere"), "root 'nowhere' is no object")
manifest("no objects", lambda m: m.update(objects=[]), "is no object")
manifest("an object that stands twice", lambda m: m["objects"].append(m["objects"][2]), "stands twice")
manifest("an object in two places of another", lambda m: m["objects"][2]["paths"].append("third"), "holds two objects")
manifest("an object that is not at its path", lambda m: m["objects"][2].update(paths=["x"]), "not first among")
manifest("an object without a place", lambda m: m["objects"][2].update(paths=[]), "not first among")
manifest("an unknown list", lambda m: m["objects"][2]["orders"].update(weights=[]), "unknown list 'weights'")
manifest("a list of what is unknown", lambda m: m["objects"][2]["orders"].update(layers=["x"]), "lists unknown 'x'")
manifest("a variable without a slot", lambda m: kernel(m).update(slots=[]), "has no slot")
manifest(
    "a slot in two variables", lambda m: m["variables"][1]["slots"].append({"path": "second/kernel"}), "two variables"
)
manifest(
    "a slot twice in one variable", lambda m: kernel(m)["slots"].append({"path": "second/kernel"}), "two variables"
)
manifest(
    "a tensor under two names",
    lambda m: m["variables"].append({**m["variables"][1], "slots": [{"path": "x"}]}),
    "missing",
)
manifest(
    "a constant with the name of a variable",
    lambda m: m.update(constants=[{"name": "first/bias", "dtype": "float32", "shape": [2]}]),
    "stands twice",
)
manifest(
    "a tie to a slot of no optimizer",
    lambda m: kernel(m)["slots"].append({"path": "third/@optimizer/x"}),
    "of no optimizer",
)
manifest("an optimizer that stands twice", lambda m: m["optimizers"].append(m["optimizers"][0]), "stands twice")
manifest("an optimizer of no model", lambda m: m["optimizers"][0].update(models=["x"]), "of no model 'x'")
manifest("an optimizer of no variable", lambda m: m["optimizers"][0].update(variables=["x"]), "lists unknown 'x'")
manifest("versions that are missing", lambda m: m.update(versions={}), "version of 'tiedio' is missing")
# By hand a variable can be put into any attribute, so that `load` makes this place; a model of living code has it not.
manifest(
    "a tie to a slot that nothing has",
    lambda m: kernel(m)["slots"].insert(1, {"path": "first/nothing"}),
    "no such place",
    ("load_weights",),
    "MismatchError",
)
for _index in ("99999999999", "9" * 5000, "\u00b2", "\uff19"):
    manifest(
        f"a tie to item {_index[:20]} of a list",
        lambda m, index=_index: kernel(m)["slots"].insert(1, {"path": f"first/x/{index}"}),  # type: ignore[misc]
        "no such place",
        BUILDING,
        "MismatchError",
    )
for _name in ("__class__", "__dict__/x"):
    manifest(
        f"a tie to {_name}",
        lambda m, name=_name: kernel(m)["slots"].insert(1, {"path": f"first/{name}"}),  # type: ignore[misc]
        "no such place|cannot be filled",
        BUILDING,
        "MismatchError",
    )
manifest(
    "a tie to an object that is not there",
    lambda m: kernel(m)["slots"].insert(1, {"path": "nobody/kernel"}),
    "no such place",
    BUILDING,
    "MismatchError",
)

# --- names ----------------------------------------------------------------------------------------------
for _what, _name in {
    "NUL": "a\0b", "a control character": "a\tb", "what a terminal obeys": f"{ESC}first", "a backslash": "a\\b",
    "what turns the text round": "\u202elenrek", "what is not seen": "first\u200b", "..": "../first",
    "two slashes": "a//b", "a slash at its end": "first/",
}.items():  # fmt: skip
    manifest(f"a slot with {_what}", lambda m, name=_name: kernel(m)["slots"].insert(1, {"path": name}), "is no path")  # type: ignore[misc]
    manifest(f"an object with {_what}", lambda m, name=_name: m["objects"][2]["paths"].append(name), "is no path")  # type: ignore[misc]
manifest(
    "a slot of a megabyte",
    lambda m: m["variables"][1]["slots"].append({"path": "first/kernel"}) or kernel(m)["slots"].append({"path": LONG}),
    "two variables",
)

# --- views ----------------------------------------------------------------------------------------------
manifest(
    "a canonical slot that is a view",
    lambda m: kernel(m)["slots"].reverse(),
    "canonical slot 'third/kernel' holds a view",
)
manifest("a view of an unknown name", lambda m: view(m).update(name="exec"), "unknown view.*'exec'")
manifest("a view with an unknown key", lambda m: view(m).update(code="x"), "unknown key.*'code'")
for _what, _view in {
    "axes that are no permutation": {"name": "transpose", "axes": [0, 0]},
    "too few axes": {"name": "transpose", "axes": [1]},
    "negative axes": {"name": "transpose", "axes": [-1, -2]},
    "axes out of range": {"name": "transpose", "axes": [1, 2**40]},
    "no axes": {"name": "transpose"},
    "300,000 axes": {"name": "transpose", "axes": list(range(300_000))},
    "a reshape to another count": {"name": "reshape", "shape": [7]},
    "a reshape with a size left out": {"name": "reshape", "shape": [-1]},
    "a reshape to negative sizes": {"name": "reshape", "shape": [-2, -3]},
    "a reshape to huge sizes": {"name": "reshape", "shape": [2**63 - 1] * 60},
    "a reshape to 300,000 sizes": {"name": "reshape", "shape": [1] * 300_000 + [6]},
    "a slice out of bounds": {"name": "slice", "start": [0, 1], "shape": [3, 2]},
    "a slice from before the start": {"name": "slice", "start": [-1, 0], "shape": [1, 1]},
    "a slice of huge numbers": {"name": "slice", "start": [2**62, 0], "shape": [2**62, 2]},
    "a slice of too few numbers": {"name": "slice", "start": [0], "shape": [1]},
    "numbers of another view": {"name": "transpose", "axes": [1, 0], "start": [0, 0]},
}.items():  # fmt: skip
    manifest(
        f"a view of {_what}",
        lambda m, new=_view: kernel(m)["slots"][2].update(view=new),  # type: ignore[misc]
        "does not fit its variable",
    )
manifest(
    "a view that is the variable",
    lambda m: kernel(m)["slots"][2].update(view={"name": "reshape", "shape": [3, 2]}),
    "is the variable itself",
)
manifest(
    "a view of true",
    lambda m: kernel(m)["slots"][2].update(view={"name": "transpose", "axes": [True, False]}),
    "wrong kind",
)
manifest(
    "a view for a plain tie: the shape changes",
    lambda m: kernel(m)["slots"][2].pop("view"),
    "of another shape|not those of the file",
    BUILDING,
    "MismatchError",
)
manifest(
    "a view that the layer cannot have",
    lambda m: kernel(m)["slots"][2].update(view={"name": "slice", "start": [0, 0], "shape": [2, 2]}),
    "of another shape|not those of the file",
    BUILDING,
    "MismatchError",
)
manifest(
    "a tie to a weight of another shape",
    lambda m: kernel(m)["slots"].insert(1, {"path": "first/bias"}),
    "two variables",
)


# --- what hooks stored ----------------------------------------------------------------------------------
def stored(*keys: str, hook: str = "assets", owner: str = "first", **facts: Any) -> Callable[[], bytes]:
    """The good file with assets of these names, each an empty tensor of its own."""

    def made() -> bytes:
        parts = good().parts
        records = []
        entries = dict(parts.entries)
        for n, key in enumerate(keys):
            tensor = f"{owner}/@assets/file{n}"
            records.append(
                {"object": owner, "hook": hook, "key": key, "tensor": tensor, "dtype": "uint8", "shape": [0], **facts}
            )
            entries[tensor] = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
        changed = replace(parts, entries=entries)
        return changed.changed("manifest", lambda m: m.update(stored=records)).built()

    return made


for _what, _key in {
    "leads out": "../x", "leads out from inside": "a/../../x", "is absolute": "/etc/passwd", "is a drive": "C:/x",
    "has a backslash": "..\\x", "has NUL": "a\0b", "is reserved": "NUL.txt", "is reserved below a folder": "a/con",
    "is empty": "", "is a dot": "a/./b", "is dots": "...", "is a folder": "a/", "a terminal obeys": f"{ESC}a",
    "is half of a pair": "\udc80", "is of a megabyte": LONG, "has a million folders": "a/" * 500_000 + "b",
    "has a long part": "a" * 256,
}.items():  # fmt: skip
    hostile(f"an asset whose name {_what}", stored(_key), "unsafe name|not UTF-8")
hostile("assets that differ in case", stored("a.txt", "A.txt"), "one file")
hostile("assets that differ in Unicode form", stored("caf\u00e9", "cafe\u0301"), "one file")
hostile("an asset that is a folder", stored("a", "a/b"), "file and folder")
hostile("an asset that is a folder by its case", stored("A", "a/b"), "file and folder")
hostile("an asset that stands twice", stored("a", "a"), "stands twice")
hostile("what a hook stored for nobody", stored("a", owner="nobody"), "of no object 'nobody'")
hostile("an unknown hook", stored("a", hook="exec"), "unknown hook 'exec'")
hostile("assets of a class without hooks", stored("a"), "hook", BUILDING, "any")


# --- structure and training record ----------------------------------------------------------------------
def entry(table: Any, n: int = 2) -> Any:
    return table["objects"][n]


structure("one object too many", lambda s: s["objects"].append(entry(s)), "6 entries for 5 objects")
structure("an object without a class", lambda s: entry(s).pop("class"), "has no class")
structure("an object of a list", lambda s: s["objects"].__setitem__(2, []), "has no class")
structure("an unknown key in an object", lambda s: entry(s).update(code="x"), "unknown key.*'code'")
structure("an unknown key in a class", lambda s: entry(s)["class"].update(code="x"), "unknown key.*'code'")
structure("an unknown key in a node", lambda s: s["nodes"][1].update(code="x"), "unknown key.*'code'")
structure("an unknown kind", lambda s: entry(s).update(kind="exec"), "unknown kind 'exec'")
structure("an unknown step", lambda s: s["steps"].append(["exec", 1]), "unknown step")
structure("a step of a megabyte", lambda s: s["steps"].append([LONG, 1]), "unknown step")
structure("a step for nobody", lambda s: s["steps"].append(["make", 99]), "make 99 does not exist")
structure("a step of true", lambda s: s["steps"].append(["make", True]), "does not exist")
structure(
    "an object that holds itself as its part",
    lambda s: entry(s).update(config={"inner": {"$object": 2}}),
    "",
    "any",
    ("load",),
)
structure(
    "objects that are made of each other",
    lambda s: (entry(s).update(config={"a": {"$object": 3}}), entry(s, 3).update(config={"a": {"$object": 2}})),
    "",
    "any",
    ("load",),
)
structure(
    "a reference to nobody", lambda s: entry(s)["config"].update(units={"$object": 99}), "object 99 does not exist"
)
structure("a reference of a list", lambda s: entry(s)["config"].update(units={"$object": [LONG]}), "object \\['nnn")
structure(
    "a place in nobody", lambda s: entry(s)["held"].append([99, [["attribute", "x"]]]), "object 99 does not exist"
)
structure("a place of a megabyte", lambda s: entry(s)["held"].append(LONG), "no place")
structure("a place by an unknown step", lambda s: entry(s)["held"].append([0, [["exec", "x"]]]), "unknown step")
structure("a node of nobody", lambda s: s["nodes"][1].update(operation=-1), "object -1 does not exist")
structure("a tensor of no node", lambda s: s["nodes"][1].update(args={"$tuple": [{"$tensor": [99, 0]}]}), "of no node")
structure(
    "a tensor of itself", lambda s: s["nodes"][1].update(args={"$tuple": [{"$tensor": [1, 0]}]}), "", "any", ("load",)
)
structure(
    "a million steps that are wrong", lambda s: s.update(steps=[["make", 99]] * 300_000), "does not exist|more memory"
)
training("an unknown key", lambda t: t["models"][0].update(code="x"), "unknown key.*'code'")
training("an optimizer too many", lambda t: t["optimizers"].append({}), "2 configurations for 1 optimizers")
training("an optimizer of nobody", lambda t: t["models"][0].update(optimizer=1), "optimizer 1 does not exist")
training("a model of nobody", lambda t: t["models"][0].update(model=5), "object 5 does not exist")
training(
    "a shared part that is not there",
    lambda t: t["models"][0]["config"].update(loss={"$shared": 0}),
    "shared part 0 does not exist",
)
