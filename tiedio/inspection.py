"""`inspect` and `verify`: the manifest of a file, and whether its bytes are sound; need neither Keras nor a backend."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tiedio.container import digests
from tiedio.container.header import Header, open_file, read_header
from tiedio.container.strict_json import short_list
from tiedio.errors import DAMAGED, FormatError, shown
from tiedio.limits import Limits
from tiedio.manifest import SAFETENSORS_CODES, Manifest, check_version
from tiedio.progress import Progress, observed

DIGESTS_KEY = digests.KEY
FORMAT_KEY = "tiedio.format"
MANIFEST_KEY = "tiedio.manifest"
STRUCTURE_KEY = "tiedio.structure"
TRAINING_KEY = "tiedio.training"

_DIGESTS_SINCE = 4


def inspect(path: str | os.PathLike[str], *, limits: Limits | None = None) -> Manifest:
    """Reads what a file holds, without loading it.

    Args:
        path: a file written by `tiedio.save`.
        limits: what the file may ask for; the default grows with its size.

    Returns:
        The manifest, which tells of objects, variables, ties and optimizers; it has no values.

    Raises:
        NoSuchFileError: if there is no file.
        FormatError: if the file is not a safetensors file, has no manifest, or is damaged.
        LimitError: if its texts would take more memory than is allowed, or nest too deep.

    Example:
        >>> import keras, tiedio
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> tiedio.save(model, "model.safetensors")
        >>> [tensor.name for tensor in tiedio.inspect("model.safetensors").tensors]
        ['dense/kernel', 'dense/bias']
    """
    return manifest_of(read_header(path, limits), os.fsdecode(path))


def verify(path: str | os.PathLike[str], *, limits: Limits | None = None, progress: Progress = False) -> None:
    """Reads a whole file and compares every byte with the digests in it: a flipped bit anywhere raises.

    The memory that it takes does not grow with the file.

    Args:
        path: a file written by `tiedio.save` or `tiedio.save_weights`.
        limits: what the file may ask for; the default grows with its size.
        progress: `True` for a bar in the terminal, if it takes more than a second; or a function, which is called with
            the bytes that are done and with all that there are.

    Raises:
        NoSuchFileError: if there is no file.
        DamagedError: if bytes are not those that were written; it names every tensor that is damaged.
        FormatError: if the file is not a safetensors file, has no manifest, is damaged so that it cannot be read, or
            holds no digests, as those that tiedio wrote before format 4.
        LimitError: if its texts would take more memory than is allowed, or nest too deep.

    Example:
        >>> import keras, tiedio
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> tiedio.save(model, "model.safetensors")
        >>> tiedio.verify("model.safetensors")
    """
    name = os.fsdecode(path)
    with observed(progress, f"verifying {os.path.basename(name)}") as observer, open_file(name) as file:
        header = digests.verified_header(file, name, limits, observer)
    manifest_of(header, name)


def manifest_of(header: Header, path: str) -> Manifest:
    """The manifest in a header, checked against the header's tensors."""
    text = metadata_of(header, MANIFEST_KEY, path)
    version = header.metadata.get(FORMAT_KEY, "")
    check_version(int(version) if version.isdecimal() and len(version) < 9 else version, path)
    manifest = Manifest.from_json(text, path, header.allowance)
    if str(manifest.format) != version:
        raise FormatError(
            "the file names two format versions",
            path=path,
            expected=shown(version),
            found=str(manifest.format),
            remedy=DAMAGED,
        )
    _check_tensors(manifest, header, path)
    if manifest.format >= _DIGESTS_SINCE and digests.digests_of(header, path) is None:
        raise FormatError(
            "the file holds no digests",
            path=path,
            expected=f"metadata key {DIGESTS_KEY!r}, as in every file of format {manifest.format}",
            found=short_list(sorted(header.metadata)),
            remedy=DAMAGED,
        )
    return manifest


def metadata_of(header: Header, key: str, path: str) -> str:
    """One of tiedio's metadata values."""
    metadata: Mapping[str, str] = header.metadata
    if key not in metadata:
        raise FormatError(
            "the file has no manifest of tiedio",
            path=path,
            expected=f"metadata key {key!r}",
            found=short_list(sorted(metadata)) or "no metadata",
            remedy="save the model with tiedio.save; for tensors of other programs: tiedio.convert, with model=",
        )
    return metadata[key]


def _check_tensors(manifest: Manifest, header: Header, path: str) -> None:
    """Raises `FormatError` unless the header lists exactly the manifest's tensors, alike in dtype and shape."""
    specs = {tensor.name: tensor for tensor in manifest.tensors}
    missing, extra = sorted(specs.keys() - header.entries.keys()), sorted(header.entries.keys() - specs.keys())
    if missing or extra:
        raise FormatError(
            "a tensor is missing" if missing else "a tensor is left over",
            path=path,
            expected=f"tensors {short_list(missing, 5)}" if missing else "only the manifest's tensors",
            found=short_list(extra, 5) or None,
            remedy="the file is damaged or was edited; save the model again",
        )
    for name, tensor in specs.items():
        entry = header.entries[name]
        code = SAFETENSORS_CODES.get(tensor.dtype)
        if entry.shape != tensor.shape or entry.dtype != code:
            raise FormatError(
                "a tensor differs from the manifest",
                path=f"{path}: {name[:200]}",
                expected=f"{tensor.dtype[:40]} {shown(tensor.shape)}",
                found=f"{entry.dtype} {shown(entry.shape)}",
                remedy="the file is damaged or was edited; save the model again",
            )
