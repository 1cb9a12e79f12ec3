"""DOT → svg or png by the program `dot` of Graphviz, under a time limit: what it draws may come from a stranger."""

from __future__ import annotations

import shutil
import subprocess

from tiedio.errors import BackendError, TiedioError

SECONDS = 60.0
_PROGRAM = "dot"


def render(text: str, kind: str, *, dpi: int = 200, seconds: float = SECONDS) -> bytes:
    """Draw a picture.

    Args:
        text: in the DOT language.
        kind: `"svg"` or `"png"`.
        dpi: dots per inch of a png; an svg has none.
        seconds: how long it may take.

    Returns:
        The bytes of the file.

    Raises:
        BackendError: if Graphviz is not installed.
        TiedioError: if it takes too long, or Graphviz fails.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        raise BackendError(
            "a picture needs Graphviz",
            path="the picture",
            expected="its program 'dot' on the PATH",
            found="none",
            remedy="install it: apt install graphviz, brew install graphviz, conda install graphviz, or "
            "https://graphviz.org/download; a name that ends in .dot needs no program",
        )
    resolution = [f"-Gdpi={dpi}"] if kind == "png" else []
    try:
        done = subprocess.run(
            [program, f"-T{kind}", *resolution], input=text.encode(), capture_output=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        raise TiedioError(
            "Graphviz takes too long to draw this",
            path="the picture",
            expected=f"at most {seconds:g} seconds",
            found=f"{text.count('];')} parts and lines",
            remedy="fold more: fold=True, or a smaller number; or write a .dot file and draw it yourself",
        ) from error
    if done.returncode != 0 or not done.stdout:
        raise TiedioError(
            "Graphviz could not draw this",
            path="the picture",
            expected="a picture",
            found=done.stderr.decode(errors="replace").strip()[:300] or f"exit code {done.returncode}",
            remedy="fold more, lower dpi, or write a .dot file and draw it yourself",
        )
    return done.stdout
