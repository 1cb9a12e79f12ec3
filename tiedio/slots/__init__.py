"""Slots: the places that hold a variable. `walking` finds them, `steps` gets and sets what stands there."""

from tiedio.naming import join
from tiedio.slots.steps import get, is_special, locate, put
from tiedio.slots.walking import (
    MISSING,
    FoundObject,
    FoundSlot,
    Member,
    Step,
    Walk,
    attributes_of,
    classify,
    escape,
    is_variable,
    leaves,
    members,
    own_attributes,
    walk,
)

__all__ = [
    "MISSING",
    "FoundObject",
    "FoundSlot",
    "Member",
    "Step",
    "Walk",
    "attributes_of",
    "classify",
    "escape",
    "get",
    "is_special",
    "is_variable",
    "join",
    "leaves",
    "locate",
    "members",
    "own_attributes",
    "put",
    "walk",
]
