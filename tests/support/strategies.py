"""Random applications: metrics, labels, processes, values."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from support import stock
from support.files import Entry
from support.processes import Instrument, Process, Series

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("counter", "gauge", "summary", "histogram")
MODES = (*stock.GAUGE_MODES, stock.EXTRA_MODE)
# Modes that pick one of the values, so that any float must come out as it went in.
PICKING_MODES = tuple(mode for mode in MODES if not mode.endswith("sum"))

# Characters that mean something to JSON, to the text formats, to Unicode or to nobody.
_AWKWARD = "\\\"\n\r\t{}=, '#/_:.\0\x7f\x85\u2028\ufeff\ufffdé字💥\U0010ffff"
_CHARACTERS = st.one_of(
    st.sampled_from(_AWKWARD),
    st.sampled_from("abAB019"),
    st.characters(exclude_categories=["Cs"]),
)
TEXT = st.text(_CHARACTERS, max_size=8)

_PLAIN_NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True)
_PLAIN_FAMILIES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,5}", fullmatch=True)
# Endings that the text format looks at.
_SUFFIXED = st.builds(
    str.__add__,
    st.sampled_from(["a", "a_b"]),
    st.sampled_from(["_total", "_created", "_gsum", "_gcount", "_sum", "_count", "_bucket"]),
)
# prometheus_client takes a name with a line break at its end for a plain one, and breaks the text.
_ANY_NAMES = st.text(_CHARACTERS, min_size=1, max_size=6).filter(
    lambda name: not name.endswith("\n")
)

FAMILY_NAMES = st.one_of(
    st.sampled_from(["a", "b"]),
    _PLAIN_FAMILIES,
    _SUFFIXED,
    *([_ANY_NAMES] if stock.UTF8_NAMES else []),
)
LABEL_NAMES = st.one_of(
    # A `pid` of the user's own is overwritten or dropped, depending on the mode.
    st.sampled_from(["pid", "x"]),
    _PLAIN_NAMES,
    *([_ANY_NAMES] if stock.UTF8_NAMES else []),
    # Both are reserved by a type, and `le` means a bucket wherever it stands.
).filter(lambda name: not name.startswith("__") and name not in {"le", "quantile"})

_SPECIAL = st.sampled_from([math.inf, -math.inf, math.nan, 0.0, -0.0])
# Sums of these are exact in whatever order they are made.
EXACT = st.one_of(
    st.integers(-(2**20), 2**20).map(lambda quarters: quarters / 4),
    st.integers(0, 5).map(float),
    st.integers(0, 10**7),
    _SPECIAL,
)
ANY_FLOATS = st.one_of(
    st.floats(),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("=d", struct.pack("=Q", bits))[0]),
    st.integers(-(10**17), 10**17).map(float),
    st.decimals(-(10**9), 10**9, places=3).map(float),
    _SPECIAL,
)
TIMESTAMPS = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0, 1.7e9, -1.0, math.inf, math.nan]),
    st.floats(0, 2e9),
)

PIDS = st.integers(1, 2**31)
# prometheus_client cuts an identifier at its first underscore, so none has one here.
NAMED_PIDS = st.text(
    st.one_of(st.sampled_from("ab01.-[]*? é"), st.characters(exclude_categories=["Cs", "Cc"])),
    min_size=1,
    max_size=5,
).filter(lambda name: not set(name) & set("_/"))
UNDERSCORED_PIDS = st.from_regex(r"[a-z]{1,4}_[a-z0-9_]{0,4}", fullmatch=True)

BUCKETS = st.lists(
    st.one_of(
        st.integers(-3, 12).map(lambda quarters: quarters / 4),
        st.sampled_from([math.inf, -math.inf, 1e16, 1e300, 5e-324, 999999.0, 1e6, 123456789.5]),
        st.floats(allow_nan=False),
    ),
    min_size=1,
    max_size=5,
    unique=True,
).map(lambda bounds: tuple(sorted(bounds)))


def _usable(bounds: tuple[float, ...]) -> bool:
    """Return whether Histogram takes them: at least one beside the infinite one."""
    return bounds != (math.inf,)


@st.composite
def _instruments(  # noqa: PLR0913
    draw: st.DrawFn,
    *,
    names: Sequence[str],
    label_names: Sequence[str],
    label_values: Sequence[str],
    helps: Sequence[str],
    values: st.SearchStrategy[float],
    kinds: Sequence[str],
    modes: Sequence[str],
) -> Instrument:
    labels = draw(st.sampled_from([(), tuple(label_names), tuple(reversed(label_names))]))
    rows = draw(
        st.lists(
            st.tuples(*[st.sampled_from(label_values) for _ in labels]),
            min_size=1,
            max_size=3 if labels else 1,
            unique=True,
        )
    )
    return Instrument(
        kind=draw(st.sampled_from(kinds)),
        name=draw(st.sampled_from(names)),
        help=draw(st.sampled_from(helps)),
        label_names=labels,
        series=tuple(
            Series(row, tuple(draw(st.lists(values, max_size=3))), draw(TIMESTAMPS)) for row in rows
        ),
        mode=draw(st.sampled_from(modes)),
        buckets=draw(BUCKETS.filter(_usable)),
    )


@st.composite
def applications(
    draw: st.DrawFn,
    *,
    values: st.SearchStrategy[float] = EXACT,
    kinds: Sequence[str] = KINDS,
    modes: Sequence[str] = MODES,
) -> list[Process]:
    """Draw processes that share some of their metrics, and agree or not on what those are."""
    identifiers = PIDS | NAMED_PIDS
    if "gauge" not in kinds:
        identifiers |= UNDERSCORED_PIDS
    instruments = _instruments(
        names=draw(st.lists(FAMILY_NAMES, min_size=1, max_size=3, unique=True)),
        label_names=draw(st.lists(LABEL_NAMES, min_size=1, max_size=2, unique=True)),
        label_values=draw(st.lists(TEXT, min_size=1, max_size=3, unique=True)),
        helps=draw(st.lists(TEXT, min_size=1, max_size=2)),
        values=values,
        kinds=kinds,
        modes=modes,
    )
    return [
        Process(identifier, tuple(draw(st.lists(instruments, min_size=1, max_size=3))))
        for identifier in draw(st.lists(identifiers, min_size=1, max_size=4, unique_by=str))
    ]


FILE_PREFIXES = ("counter", "summary", "histogram", *[f"gauge_{mode}" for mode in MODES])
# Types that no metric writes in multiprocess mode, but that prometheus_client reads. Not those of
# Info and Enum, which it adds up.
RARE_PREFIXES = ("gaugehistogram", "unknown", "untyped")


@st.composite
def entries(draw: st.DrawFn, prefix: str, values: st.SearchStrategy[float] = EXACT) -> Entry:
    """Draw an entry that no metric class would write, but that the format allows."""
    family = draw(FAMILY_NAMES)
    suffixes = ["", "_total", "_sum", "_count", "_bucket", "_created", "_gsum", "_gcount"]
    labels = draw(st.dictionaries(LABEL_NAMES, TEXT, max_size=3))
    if prefix == "histogram" and draw(st.booleans()):
        # Several ways of writing one bound: they are one bucket.
        labels["le"] = draw(st.sampled_from(["1", "1.0", "1e0", "2.5", "+Inf", "inf", "1e+06"]))
    return Entry(
        family,
        draw(st.sampled_from([family + suffix for suffix in suffixes]) | FAMILY_NAMES),
        labels,
        draw(TEXT),
        float(draw(values)),
        draw(TIMESTAMPS),
    )
