"""Scene and frame → the text that Graphviz reads. What a file says stands in it as text only, never as markup."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from tiedio.picture.folding import Box, Frame, boxes
from tiedio.picture.palette import color_of, ink_on, style_of
from tiedio.picture.scene import Link, Part, Scene, TieMark
from tiedio.texts import printable, size_text

_LONGEST = 60  # letters of a name
_MOST_ROWS = 12  # ties that one box names
_MOST_LINES = 80  # lines of ties
_MOST_LISTED = 30  # ties in the legend
_MOST_SLOTS = 6  # slots of a tie there
_MOST_CLASSES = 4
_MOST_CALLS = 8  # numbers of calls at one edge
_MOST_STEPS = 64  # from a model into the models in it
_FONT = "Helvetica,Arial,sans-serif"
_DARK, _FROZEN, _PLAIN = "#1f2937", "#6b7280", "#e5e7eb"
_LINE = 'COLOR="#9ca3af"'
RANKDIRS = ("TB", "BT", "LR", "RL")
SPLINES = ("ortho", "curved", "polyline", "spline", "line")


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What is drawn of each part, and how; as the arguments of `tiedio.plot`."""

    shapes: bool = False
    dtype: bool = False
    layer_names: bool = True
    layer_activations: bool = False
    trainable: bool = False
    rankdir: str = "TB"
    splines: str = "spline"


def dot_of(scene: Scene, items: Sequence[Box | Frame], show: Show) -> str:
    """The text of a picture.

    Args:
        scene: all that could be drawn.
        items: what is drawn of it.
        show: how.

    Returns:
        Text in the DOT language; the same for the same arguments.
    """
    return "\n".join(_Writer(scene, items, show).lines()) + "\n"


def escaped(text: str) -> str:
    r"""A text of a file for a label that is like HTML: short, visible, and without signs that mean something there.

    Example:
        >>> escaped("<b>\n")
        '&lt;b&gt;\\n'
    """
    shown = printable(text)
    if len(shown) > _LONGEST:
        shown = f"{shown[: _LONGEST // 2]}…{shown[-_LONGEST // 2 :]}"
    return html.escape(shown)


class _Writer:
    def __init__(self, scene: Scene, items: Sequence[Box | Frame], show: Show) -> None:
        self.scene, self.items, self.show = scene, items, show
        self.box_of: dict[int, Box] = {}
        self.frames: dict[int, Frame] = {}
        self.outermost: dict[int, tuple[Box, Box]] = {}  # the first and the last box in each frame
        self.within: dict[int, list[int]] = {}  # first member of a box → everything in the box
        for box in boxes(items):
            self.within[box.members[0]] = list(_within(scene, box.members))
            self.box_of.update(dict.fromkeys(self.within[box.members[0]], box))
        left = list(items)
        while left:
            item = left.pop()
            if isinstance(item, Frame):
                self.frames[item.part] = item
                inside = list(boxes(item.items))
                self.outermost[item.part] = inside[0], inside[-1]
                left += item.items
        self.ends: dict[
            int, list[tuple[TieMark, list[int]]]
        ] = {}  # first member of a box → its ties, which of their ends
        for tie in scene.ties:
            places: dict[int, list[int]] = {}
            for i, end in enumerate(tie.ends):
                places.setdefault(self._anchor(end.part), []).append(i)
            for n, found in places.items():
                self.ends.setdefault(n, []).append((tie, found))

    def lines(self) -> Iterator[str]:
        yield "digraph tiedio {"
        yield f'  graph [rankdir={self.show.rankdir}, splines={self.show.splines}, compound=true, fontname="{_FONT}",'
        yield '    fontsize=12, nodesep=0.35, ranksep=0.4, labelloc=b, labeljust=l, pad=0.2, bgcolor="white",'
        yield f"    label={self._legend()}];"
        yield f'  node [shape=plain, fontname="{_FONT}", fontsize=12];'
        yield f'  edge [color="#374151", penwidth=1.5, arrowsize=0.7, fontname="{_FONT}", fontsize=10];'
        for item in self.items:
            yield from self._item(item, "  ")
        linked = yield from self._edges()
        yield from self._stacks(self.items, linked)
        yield from self._tie_lines()
        yield "}"

    # What is drawn

    def _item(self, item: Box | Frame, indent: str) -> Iterator[str]:
        if isinstance(item, Box):
            yield f"{indent}n{item.members[0]} [label={self._label(item)}];"
            return
        yield f"{indent}subgraph cluster_{item.part} {{"
        yield f'{indent}  style="rounded"; color="#9ca3af"; labelloc=t; labeljust=l; fontsize=13;'
        yield f"{indent}  label={self._frame_label(item)};"
        for inner in item.items:
            yield from self._item(inner, indent + "  ")
        yield f"{indent}}}"

    def _frame_label(self, frame: Frame) -> str:
        part = self.scene.parts[frame.part]
        facts = self._sum(list(_within(self.scene, [frame.part])))
        rows = [f'<TR><TD ALIGN="LEFT"><B>{escaped(part.name)}</B> {escaped(part.class_name)}</TD></TR>']
        rows.append(f'<TR><TD ALIGN="LEFT"><FONT POINT-SIZE="11">{facts}</FONT></TD></TR>')
        rows += [
            _tie_row(tie, self._weights(tie, found), 'ALIGN="LEFT" ')
            for tie, found in self.ends.get(frame.part, ())[:_MOST_ROWS]
        ]
        return f'<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="2">{"".join(rows)}</TABLE>>'

    def _label(self, box: Box) -> str:
        inside = self.within[box.members[0]]
        parts = [self.scene.parts[n] for n in inside]
        heavy = any(part.parameters for part in parts)  # the state of a seed generator does not count
        frozen = heavy and not any(part.trains for part in parts)
        fill = _FROZEN if frozen else _DARK if heavy else _PLAIN
        ink = "black" if fill == _PLAIN else "white"
        title, lines = self._single(box.members[0]) if len(box.members) == 1 else self._several(box)
        if heavy or len(box.members) > 1 or any(part.size for part in parts):
            lines.append(self._sum(inside) + (" · frozen" if frozen else ""))
        if self.show.trainable and heavy:
            lines.append("not trainable" if frozen else "trainable")
        rows = [f'<TR><TD BGCOLOR="{fill}"><FONT COLOR="{ink}">{title}</FONT></TD></TR>']
        rows += [f'<TR><TD><FONT POINT-SIZE="11">{line}</FONT></TD></TR>' for line in lines]
        ties = self.ends.get(box.members[0], [])
        rows += [_tie_row(tie, self._weights(tie, found), f'PORT="t{tie.number}" ') for tie, found in ties[:_MOST_ROWS]]
        if len(ties) > _MOST_ROWS:
            rows.append(f"<TR><TD>… {len(ties) - _MOST_ROWS} more ties</TD></TR>")
        frame = f'CELLSPACING="0" CELLPADDING="5" {_LINE} BGCOLOR="white"'
        table = f'<TABLE BORDER="0" CELLBORDER="1" {frame}>{"".join(rows)}</TABLE>'
        if len(box.members) > 1:  # a second frame around it: a pile
            pile = f'CELLSPACING="2" CELLPADDING="0" {_LINE}'
            table = f'<TABLE BORDER="1" CELLBORDER="0" {pile}><TR><TD>{table}</TD></TR></TABLE>'
        return f"<{table}>"

    def _single(self, n: int) -> tuple[str, list[str]]:
        part, entry = self.scene.parts[n], self.scene.entries[n]
        title = escaped(part.class_name)
        if self.show.layer_names:
            title = f"<B>{escaped(part.name)}</B> {title}"
        lines = []
        inside = len(self.within[n]) - 1
        if inside:
            lines.append(f"{_count(inside, 'part')} inside")
        if self.show.shapes:
            taken, made = entry.input_shape, self.scene.outputs.get(n)
            if part.class_name != "InputLayer":
                lines.append(f"Input shape: {escaped(taken or '?')}")
            lines.append(f"Output shape: {escaped(made or '?')}")
        if self.show.dtype:
            lines.append(f"Dtype: {escaped(entry.dtype or '?')}")
        if self.show.layer_activations and entry.activation is not None:
            lines.append(f"Activation: {escaped(entry.activation)}")
        if entry.kind != "object" and not inside:
            lines.append("its layers stand elsewhere")
        if self.scene.called.get(n, 0) > 1:
            lines.append(f"called {self.scene.called[n]} times")
        if part.also:
            more = f" and {len(part.also) - 1} more" if len(part.also) > 1 else ""
            lines.append(f"also {escaped(part.also[0])}{more}")
        return title, lines

    def _several(self, box: Box) -> tuple[str, list[str]]:
        parts = [self.scene.parts[n] for n in box.members]
        classes = Counter(part.class_name for part in parts)
        if len(classes) == 1:
            title = f"<B>{len(parts)} x {escaped(parts[0].class_name)}</B>"
            lines = []
        else:
            each = _count(len(parts) // box.repeats, "layer")
            title = f"<B>{box.repeats} x {each}</B>" if box.repeats > 1 else f"<B>{each}</B>"
            told = [f"{count} {escaped(name)}" for name, count in classes.most_common(_MOST_CLASSES)]
            lines = ["<BR/>".join(told + (["…"] if len(classes) > _MOST_CLASSES else []))]
        if self.show.layer_names:
            lines.insert(0, f"{escaped(parts[0].name)} … {escaped(parts[-1].name)}")
        return title, lines

    def _sum(self, inside: Sequence[int]) -> str:
        parts: list[Part] = [self.scene.parts[n] for n in inside]
        count = sum(part.parameters for part in parts)
        size = size_text(sum(part.size for part in parts))
        return f"{size} · {_count(count, 'parameter')}" if count else size

    def _weights(self, tie: TieMark, found: Sequence[int]) -> str:
        ends = [tie.ends[i] for i in found]
        names = list(dict.fromkeys(f"{end.weight} = {end.view}" if end.view else end.weight for end in ends))
        text = escaped(names[0]) if len(names) == 1 else f"{escaped(names[0])}, …"
        return f"{text} x {len(ends)}" if len(ends) > 1 else text

    # What is connected

    def _edges(self) -> Generator[str, None, set[int]]:
        """The edges; then, the boxes that they join."""
        seen: dict[tuple[Box, Box, str], None] = {}
        again: dict[Box, list[int]] = {}
        for link in self.scene.links:
            (source, tail), (target, head) = self._source(link), self._target(link)
            if source is None or target is None:
                continue
            if source is target:
                if link.source == link.target and _is_alone(target, link.target):
                    again.setdefault(target, []).append(link.target_call + 1)
                continue
            cut = [f"{end}=cluster_{n}" for end, n in (("ltail", tail), ("lhead", head)) if n is not None]
            words = self._call_words(link, source, target)
            attributes = ", ".join([*([f'label="{words}"'] if words else []), *cut])
            seen[source, target, f" [{attributes}]" if attributes else ""] = None
        for source, target, attributes in seen:
            yield f"  n{source.members[0]} -> n{target.members[0]}{attributes};"
        for box, calls in again.items():
            numbers = ", ".join(map(str, sorted({*calls})[:_MOST_CALLS])) + (", …" if len(calls) > _MOST_CALLS else "")
            word = "calls" if len(calls) > 1 else "call"
            yield f'  n{box.members[0]} -> n{box.members[0]} [label="{word} {numbers}"];'
        return {box.members[0] for source, target, _ in seen for box in (source, target)} | {
            box.members[0] for box in again
        }

    def _call_words(self, link: Link, source: Box, target: Box) -> str:
        """Which call of a part that is called several times an edge belongs to."""
        called = self.scene.called
        to = called.get(link.target, 0) > 1 and (link.target in self.frames or _is_alone(target, link.target))
        by = called.get(link.source, 0) > 1 and (link.source in self.frames or _is_alone(source, link.source))
        words = [f"call {link.target_call + 1}"] if to else []
        if by:
            words.append(f"{'from ' if to else 'of '}call {link.source_call + 1}")
        return ", ".join(words)

    def _source(self, link: Link) -> tuple[Box | None, int | None]:
        """The box that an output comes from; and the frame at which the edge ends, if it is not known where in it."""
        n, output = link.source, link.output
        for _ in range(_MOST_STEPS):
            if n in self.box_of:
                return self.box_of[n], None
            if n not in self.frames:
                return None, None
            entry = self.scene.entries[n]
            if output < len(entry.outputs):
                call, output = entry.outputs[output]
                n = self.scene.calls[call].operation
            elif entry.layers:
                n, output = entry.layers[-1], 0
            else:
                return self.outermost[n][1], n
        return None, None

    def _target(self, link: Link) -> tuple[Box | None, int | None]:
        n = link.target
        for _ in range(_MOST_STEPS):
            if n in self.box_of:
                return self.box_of[n], None
            if n not in self.frames:
                return None, None
            entry = self.scene.entries[n]
            if entry.inputs:
                n = self.scene.calls[entry.inputs[min(link.input, len(entry.inputs) - 1)][0]].operation
            elif entry.layers:
                n = entry.layers[0]
            else:
                return self.outermost[n][0], n
        return None, None

    def _stacks(self, items: Sequence[Box | Frame], linked: set[int]) -> Iterator[str]:
        """Edges that nobody sees: what is connected with nothing would stand in one long row."""
        before: Box | None = None
        for item in items:
            inside = [item] if isinstance(item, Box) else list(boxes(item.items))
            if not any(box.members[0] in linked for box in inside) and inside:
                if before is not None:
                    yield f"  n{before.members[0]} -> n{inside[0].members[0]} [style=invis];"
                before = inside[-1]
            if isinstance(item, Frame):
                yield from self._stacks(item.items, linked)

    # What is tied

    def _anchor(self, n: int) -> int:
        """The box or the frame that shows a part."""
        return n if n in self.frames else self.box_of[n].members[0]

    def _port(self, tie: TieMark, n: int) -> str:
        """Where a line ends: at the row of a tie in a box, or at a box of a frame that has the slot itself."""
        if n in self.frames:
            return f"n{self.outermost[n][0].members[0]}"
        shown = [other.number for other, _ in self.ends[n][:_MOST_ROWS]]
        return f"n{n}:t{tie.number}:_" if tie.number in shown else f"n{n}"

    def _tie_lines(self) -> Iterator[str]:
        left = _MOST_LINES
        for tie in self.scene.ties:
            ends: dict[int, str] = {}
            for end in tie.ends:
                anchor = self._anchor(end.part)
                ends.setdefault(anchor, str(end.view) if end.view else "")
            ports = [(self._port(tie, n), n, view) for n, view in ends.items()]
            for port, n, view in ports[1:]:
                start, first, _ = ports[0]
                if port == start or left == 0:
                    continue
                left -= 1
                color, label = color_of(tie.number), f"T{tie.number}" + (f" {escaped(view)}" if view else "")
                text = f'<<FONT COLOR="{color}"><B>{label}</B></FONT>>'
                cut = [f"{end}=cluster_{m}" for end, m in (("ltail", first), ("lhead", n)) if m in self.frames]
                rest = "".join(f", {one}" for one in cut)
                yield (
                    f'  {start} -> {port} [dir=none, style={style_of(tie.number)}, color="{color}", penwidth=2.5,'
                    f" constraint=false, label={text}{rest}];"
                )

    def _legend(self) -> str:
        ties = self.scene.ties
        if not ties:
            return '""'
        saved = sum(tie.saved for tie in ties)
        rows = [
            (
                f'<TR><TD COLSPAN="3" ALIGN="LEFT"><B>{_count(len(ties), "tie")}</B>: sharing saves {size_text(saved)}'
                "</TD></TR>"
            )
        ]
        for tie in ties[:_MOST_LISTED]:
            slots = [
                escaped(end.path) + (f" = {escaped(str(end.view))}" if end.view else "")
                for end in tie.ends[:_MOST_SLOTS]
            ]
            if len(tie.ends) > _MOST_SLOTS:
                slots.append(f"… {len(tie.ends) - _MOST_SLOTS} more slots")
            color = color_of(tie.number)
            rows.append(
                f'<TR><TD BGCOLOR="{color}"><FONT COLOR="{ink_on(tie.number)}"><B>T{tie.number}</B></FONT></TD>'
                f'<TD ALIGN="LEFT" BALIGN="LEFT">{"<BR/>".join(slots)}</TD>'
                f'<TD ALIGN="RIGHT">{size_text(tie.saved)}</TD></TR>'
            )
        if len(ties) > _MOST_LISTED:
            rows.append(f'<TR><TD COLSPAN="3" ALIGN="LEFT">… {len(ties) - _MOST_LISTED} more ties</TD></TR>')
        return f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="3" CELLPADDING="3">{"".join(rows)}</TABLE>>'


def _is_alone(box: Box, n: int) -> bool:
    return box.members == (n,)


def _tie_row(tie: TieMark, text: str, attributes: str) -> str:
    inside = f'<FONT COLOR="{ink_on(tie.number)}" POINT-SIZE="11"><B>T{tie.number}</B> {text}</FONT>'
    return f'<TR><TD {attributes}BGCOLOR="{color_of(tie.number)}">{inside}</TD></TR>'


def _within(scene: Scene, members: Sequence[int]) -> Iterator[int]:
    """Parts and all that is in them."""
    left = list(reversed(members))
    while left:
        n = left.pop()
        yield n
        left += reversed(scene.children.get(n, ()))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
