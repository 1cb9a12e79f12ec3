"""Weights of a file → a living model: everything is checked first, and nothing is ever half loaded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from tiedio import retying
from tiedio.loading import assigning, optimizers, places, sharing, viewing
from tiedio.loading.work import Options, Read
from tiedio.manifest import Manifest
from tiedio.report import Report
from tiedio.weights import Roots

__all__ = ["Options", "load_into"]


def load_into(
    roots: Roots,
    manifest: Manifest,
    read: Read,
    path: str,
    options: Options,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
) -> Report:
    """Loads a file's weights into living models; see `tiedio.load_weights`.

    Args:
        roots: the models by name.
        manifest: the file's manifest.
        read: the bytes of a tensor by its name.
        path: the file, for errors and the report.
        options: how.
        configs: what the structure of the file says of vocabularies and boundaries, by object, if it has one.

    Raises:
        MismatchError, ModelError, RebuildError: if the file does not fit; the models are as they were.
    """
    work = places.matched(roots, manifest, path, options)
    pairs, unlike = viewing.split(work)
    places.compare_places(work, pairs, unlike)
    viewing.compare(work, unlike)
    places.compare_hooked(work)
    places.compare_vocabularies(work, read, configs or {})
    if options.ties == "match":
        viewing.refuse(unlike)
        places.compare_extra_places(work, pairs)
    if options.strict:
        work.require_complete()
    with ExitStack() as undo:
        done = retying.Retied()
        if options.ties == "match":
            sharing.require_same_ties(pairs)
        elif options.ties == "restore":
            pairs, views = viewing.part(work, roots, pairs, unlike, undo)
            done = retying.retie(sharing.groups(work, pairs), work.objects(), sharing.orders(work), undo)
            work.tied += done.paths
            if work.tied:
                pairs = sharing.after(work, pairs, roots)
            viewing.view_again(work, views, pairs, done.moved, undo)
            if work.tied:
                sharing.forget_all_functions(work, undo)
                pairs = sharing.after(work, [*pairs, *((one.slot, one.record) for one in views)], roots)
            sharing.require_same_ties(pairs)
            places.compare_extra_places(work, pairs)
        places.compare_flags(work, pairs)
        names = optimizers.names_of(work, pairs)
        optimizers.follow(work, names, done, undo)
        state = optimizers.prepare(work, names, done.moved, undo)
        if options.strict:
            work.require_complete()
        plan = assigning.plan(work, [*pairs, *state], read)
        if options.ties == "model":
            plan += viewing.steps(work, unlike, pairs, read)
        assigning.assign(plan, undo)
        if assigning.run_hooks(work, plan, read, undo):
            sharing.forget_all_functions(work, undo)  # what a hook set stands in them as it was: a mean, say
        report = work.report()
        undo.pop_all()  # last: an interrupt after it finds all loaded, and one before it nothing
    return report
