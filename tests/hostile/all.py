"""Every hostile file by name; importing the modules registers them."""

from tests.hostile import documents, headers  # noqa: F401
from tests.hostile.generators import HOSTILE

__all__ = ["HOSTILE"]
