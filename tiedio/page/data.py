"""Header and manifest → what the page shows, as plain data."""

from __future__ import annotations

from typing import Any

from tiedio.container.digests import ALGORITHM, digests_of
from tiedio.container.header import Header
from tiedio.inspection import STRUCTURE_KEY
from tiedio.manifest import Manifest
from tiedio.picture.palette import color_of, ink_on
from tiedio.picture.scene import bytes_of

ROLES = ("trainable", "frozen", "optimizer", "other")


def data_of(header: Header, manifest: Manifest, name: str, verified: bool) -> dict[str, Any]:
    """Everything that the page shows of a file but its manifest.

    Args:
        header: the header of the file.
        manifest: its manifest.
        name: the file's name.
        verified: whether every byte was compared with the digests.

    Returns:
        Plain data: `file`, `facts` (pairs of label and text), `sizes`, `roles`, `dtypes`, `tensors` (name, dtype and
        role by number, shape, bytes, tie number or 0), `ties` and `shared`.
    """
    ties = [variable for variable in manifest.variables if len(variable.slots) > 1]
    number = {variable.slots[0].path: n for n, variable in enumerate(ties, 1)}
    optimizers = tuple(f"{optimizer.path}/" for optimizer in manifest.optimizers)
    roles = {
        v.slots[0].path: 2 if v.slots[0].path.startswith(optimizers) else 0 if v.trainable else 1
        for v in manifest.variables
    }
    dtypes = list(dict.fromkeys(tensor.dtype for tensor in manifest.tensors))
    tensors = [
        [
            tensor.name,
            dtypes.index(tensor.dtype),
            roles.get(tensor.name, 3),
            list(tensor.shape),
            bytes_of(tensor.dtype, tensor.shape),
            number.get(tensor.name, 0),
        ]
        for tensor in manifest.tensors
    ]
    shared = [
        {"class_name": record.class_name, "paths": list(record.paths)}
        for record in manifest.objects
        if len(record.paths) > 1
    ]
    saved = [(len(v.slots) - 1) * bytes_of(v.dtype, v.shape) for v in ties]
    return {
        "file": name,
        "facts": _facts(header, manifest, verified),
        "sizes": {"file": header.file_size, "tensors": sum(one[4] for one in tensors), "saved": sum(saved)},
        "roles": list(ROLES),
        "dtypes": dtypes,
        "tensors": tensors,
        "ties": [
            {
                "slots": [[slot.path, str(slot.view) if slot.view else ""] for slot in variable.slots],
                "dtype": variable.dtype,
                "shape": list(variable.shape),
                "saved": bytes_saved,
                "color": color_of(n),
                "ink": ink_on(n),
            }
            for n, (variable, bytes_saved) in enumerate(zip(ties, saved, strict=True), 1)
        ],
        "shared": shared,
    }


def _facts(header: Header, manifest: Manifest, verified: bool) -> list[list[str]]:
    digests = digests_of(header)
    if verified:
        state = "every byte is as it was written"
    else:
        state = "none" if digests is None else f"{ALGORITHM}, not compared; run tiedio verify"
    roots = [root.name for root in manifest.roots if root.name is not None]
    versions = [f"{name} {version}" for name, version in manifest.versions.items()]
    return [
        ["Format", str(manifest.format)],
        ["Written with", ", ".join(versions)],
        *([["Models", ", ".join(roots)]] if roots else []),
        *([["Custom classes", ", ".join(manifest.custom)]] if manifest.custom else []),
        ["Structure", "in the file" if STRUCTURE_KEY in header.metadata else "none: weights only"],
        *[["Optimizer", one.class_name] for one in manifest.optimizers],
        ["Digests", state],
    ]
