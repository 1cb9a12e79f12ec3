"""Headers drawn at random, and mutated: each is valid, and safetensors agrees, or it is refused."""

from __future__ import annotations

import itertools
import string

import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from tiedio.container.header import ITEM_BITS, Entry, Header, build_header, parse_header, span_of
from tiedio.container.strict_json import MAX_NUMBER
from tiedio.errors import FormatError


@given(st.sampled_from(sorted(ITEM_BITS)), st.lists(st.integers(0, 2**20), max_size=5))
def test_the_size_of_a_tensor_is_the_product_or_out_of_bounds(dtype: str, shape: list[int]) -> None:
    bits = ITEM_BITS[dtype]
    size = bits // 8
    bound = size
    for side in shape:
        size *= side
        bound *= max(side, 1)
    assert span_of(dtype, shape) == (None if bits % 8 or bound > MAX_NUMBER else size)


def test_a_size_of_2_to_the_53_is_the_largest() -> None:
    assert span_of("U8", [2**53]) == 2**53
    assert span_of("U8", [2**53 + 1]) is None


WHOLE_BYTES = sorted(dtype for dtype, bits in ITEM_BITS.items() if bits % 8 == 0)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@st.composite
def good_files(draw: st.DrawFn) -> bytes:
    entries = []
    start = 0
    for name in draw(st.lists(names.filter(lambda n: n != "__metadata__"), max_size=4, unique=True)):
        dtype = draw(st.sampled_from(WHOLE_BYTES))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
        size = span_of(dtype, shape)
        assert size is not None
        entries.append(Entry(name, dtype, shape, start, start + size))
        start += size
    head = build_header(entries, draw(st.dictionaries(names, names, max_size=3)))
    text = head[8:].rstrip(b" ")  # without the padding, a random byte more often hits what matters
    return len(text).to_bytes(8, "little") + text + bytes(start)


TOKENS = [
    *[b"{", b"}", b"[", b"]", b'"', b",", b":", b" ", b"\n", b"\\", b"-", b".", b"e9", b"0", b"1", b"-1"],
    *[b"null", b"true", b"NaN", b"9007199254740993", b"18446744073709551616"],
    *[b"\\ud800", b"\\u0000", b"\xff", b"\xe2\x80\xa8", b"\0"],
    *[b'"a":1,', b'"__metadata__":{},', b'"dtype":"U8",', b'"shape":[0],'],
    b'{"dtype":"U8","shape":[0],"data_offsets":[0,0]}',
]


@st.composite
def mutated_files(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(good_files()))
    mend = draw(st.booleans())
    old_length = int.from_bytes(raw[:8], "little")
    old_size = len(raw)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(8 if mend else 0, 8 + old_length))
        span = draw(st.integers(0, 6))
        kind = draw(st.sampled_from(["token", "byte", "cut", "repeat", "move"]))
        if kind == "token":
            raw[at : at + draw(st.sampled_from([0, span]))] = draw(st.sampled_from(TOKENS))
        elif kind == "byte":
            raw[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "cut":
            del raw[at : at + span]
        elif kind == "repeat":
            raw[at:at] = raw[at : at + draw(st.integers(1, 60))]
        else:
            part = raw[at : at + span]
            del raw[at : at + span]
            to = draw(st.integers(8, max(8, len(raw))))
            raw[to:to] = part
    if mend:  # else nearly every change is seen at the length already
        raw[:8] = max(0, old_length + len(raw) - old_size).to_bytes(8, "little")
    return bytes(raw)


def assert_safetensors_agrees(header: Header, raw: bytes) -> None:
    theirs = {
        name: (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
        for name, tensor in safetensors.deserialize(raw)  # type: ignore[no-untyped-call]
    }
    data = raw[header.data_start :]
    assert theirs == {
        name: (entry.dtype, entry.shape, data[entry.start : entry.stop]) for name, entry in header.entries.items()
    }


@given(good_files())
def test_what_we_build_safetensors_reads_too(raw: bytes) -> None:
    assert_safetensors_agrees(parse_header(raw, len(raw)), raw)


@settings(max_examples=settings().max_examples * 10)  # an example takes milliseconds
@given(mutated_files())
def test_a_mutated_header_is_refused_or_read_as_safetensors_reads_it(raw: bytes) -> None:
    try:
        header = parse_header(raw, len(raw))
    except FormatError:  # any other error is a failure
        return
    assert_safetensors_agrees(header, raw)
    ends = [
        0,
        *itertools.chain(*((e.start, e.stop) for e in header.entries.values())),
        len(raw) - header.data_start,
    ]
    assert ends == sorted(ends)


@given(st.binary(max_size=64) | st.text(string.printable, max_size=64).map(str.encode))
def test_random_bytes_are_refused_or_valid(raw: bytes) -> None:
    for prefix in (raw, len(raw).to_bytes(8, "little") + raw):
        try:
            header = parse_header(prefix, len(prefix))
        except FormatError:
            continue
        assert_safetensors_agrees(header, prefix)
