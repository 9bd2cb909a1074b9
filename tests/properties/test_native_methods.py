"""Native methods give what prometheus_client's functions give, and raise what they raise.

Whatever a program does is done twice: with metrics that have the native methods, and with metrics
of subclasses that have prometheus_client's functions. Both count in multiprom's values.
"""

from __future__ import annotations

import contextlib
import enum
import math
import warnings
from typing import TYPE_CHECKING, Any
from unittest import mock

import hypothesis.strategies as st
import multiprom
import pytest
from hypothesis import HealthCheck, given, settings
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary, metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

# By the profile of hypothesis; programs are many, and soon tried.
EXAMPLES: int = getattr(settings.default, "max_examples", 100)

KINDS: dict[str, Any] = {
    "Counter": Counter,
    "Gauge": Gauge,
    "Histogram": Histogram,
    "Summary": Summary,
    "Info": Info,
}
# Before any install().
STOCK = {
    **{(kind, "labels"): metrics.MetricWrapperBase.labels for kind in KINDS},
    ("Counter", "inc"): Counter.inc,
    ("Gauge", "inc"): Gauge.inc,
    ("Gauge", "dec"): Gauge.dec,
    ("Gauge", "set"): Gauge.set,
    ("Histogram", "observe"): Histogram.observe,
    ("Summary", "observe"): Summary.observe,
}


class Text(str):
    """A str that is shown otherwise than it is."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"<{str.__str__(self)}>"


class Method(str, enum.Enum):
    GET = "get"


class Unshown:
    def __str__(self) -> str:
        raise LookupError("no text")


class Amount(float):
    """A float with an order of its own."""

    def __lt__(self, other: object) -> bool:
        return False


LABELS = st.one_of(
    st.sampled_from(["a", "b", "", "é", 1, 2, True, None, 1.5, -0.0, math.nan, 10**30]),
    st.sampled_from([Text("a"), Method.GET, b"a", ["a"], Unshown(), 10**5000]),
)
AMOUNTS = st.one_of(
    st.floats(),
    st.integers(-3, 3),
    st.sampled_from(
        [2**53 + 1, -(2**53) - 1, 2**63, 10**400, True, None, "1", Amount(-1.0), 1j, -0.0]
    ),
)
NAMES = st.sampled_from(["x", "y", "z", "amount"])
EXEMPLARS = st.sampled_from([None, {}, {"trace": "1"}, {"trace": "1" * 200}, "none"])
PATCHES = st.sampled_from(["class", "method", "value", "value's method", "children"])
OPERATIONS: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("labels"), st.lists(LABELS, max_size=3), st.dictionaries(NAMES, LABELS)),
    st.tuples(st.sampled_from(["remove", "clear"]), st.lists(LABELS, max_size=3), st.just({})),
    st.tuples(
        st.sampled_from(["inc", "dec", "set", "observe"]),
        st.one_of(
            st.lists(AMOUNTS, max_size=2),
            st.tuples(AMOUNTS, EXEMPLARS),
        ),
        st.dictionaries(st.sampled_from(["amount", "value", "exemplar"]), AMOUNTS, max_size=1),
    ),
    st.tuples(st.just("patch"), st.tuples(PATCHES), st.just({})),
    st.tuples(st.just("unpatch"), st.just(()), st.just({})),
)


def stock_kind(kind: str) -> Any:
    """Give a class like that of prometheus_client, with its functions."""
    functions = {name: function for (owner, name), function in STOCK.items() if owner == kind}
    return type(kind, (KINDS[kind],), functions)


class Program:
    """A program with one metric, to which things happen."""

    def __init__(self, kind: str, metric_class: Any, name: str, options: dict[str, Any]) -> None:
        self._kind = kind
        self._registry = CollectorRegistry()
        self._name = name
        self.metric = metric_class(name, "Help", registry=self._registry, **options)
        # What was given last by labels(): what is counted in.
        self._child = self.metric
        self._patches = contextlib.ExitStack()
        self._calls: list[Any] = []

    def do(self, operation: str, arguments: Any, keywords: Any) -> object:
        """Do something, and give what came of it."""
        try:
            found = self._do(operation, arguments, keywords)
        except BaseException as error:  # noqa: BLE001 - compared
            return type(error), str(error).replace(self._name, "it"), str(error.__cause__)
        return "a mock" if isinstance(found, mock.Mock) else found, len(self._calls)

    def _do(self, operation: str, arguments: Any, keywords: Any) -> object:
        if operation == "labels":
            self._child = self.metric.labels(*arguments, **keywords)
            return type(self._child).__name__, repr(vars(self._child).get("_labelvalues"))
        if operation in ("remove", "clear"):
            return getattr(self.metric, operation)(*(arguments if operation == "remove" else ()))
        if operation == "patch":
            self._patch(*arguments)
            return None
        if operation == "unpatch":
            self._patches.close()
            return None
        return getattr(self._child, operation)(*arguments, **keywords)

    def _patch(self, place: str) -> None:
        method = {"Counter": "inc", "Gauge": "set"}.get(self._kind, "observe")
        value = "_sum" if method == "observe" else "_value"
        if place == "class":
            classes = type(self.metric).__mro__
            self._replace(next(found for found in classes if method in vars(found)), method)
        elif place == "method":
            self._replace(self._child, method)
        elif place == "value":
            self._replace(self._child, value)
        elif place == "value's method":
            self._replace(getattr(self._child, value), "set" if method == "set" else "inc")
        else:
            self._replace(self.metric, "_metrics", mock.MagicMock())

    def _replace(self, owner: Any, name: str, by: Any = None) -> None:
        by = (
            by
            if by is not None
            else mock.Mock(side_effect=lambda *arguments: self._calls.append(arguments))
        )
        self._patches.enter_context(mock.patch.object(owner, name, by))

    def end(self) -> object:
        """Give all that was counted."""
        self._patches.close()
        return [
            (repr(sample.name), sample.labels, repr(sample.value), sample.exemplar is None)
            for metric in self._registry.collect()
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]


@pytest.fixture
def _installed(directory: Any) -> Iterator[None]:
    multiprom.install(directory)
    assert Counter.inc is not STOCK["Counter", "inc"]
    yield
    multiprom.uninstall()
    assert Counter.inc is STOCK["Counter", "inc"]


_number = iter(range(10**9))


@pytest.mark.usefixtures("_installed")
@settings(
    max_examples=4 * EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from([*KINDS]),
    label_names=st.sampled_from([(), ("x",), ("x", "y"), ("y", "x"), ("x", "x")]),
    mode=st.sampled_from(["all", "livesum", "mostrecent"]),
    buckets=st.sampled_from([Histogram.DEFAULT_BUCKETS, (1, 2.0), range(-100, 100)]),
    operations=st.lists(OPERATIONS, max_size=12),
)
def test_random_programs(
    kind: str, label_names: Any, mode: str, buckets: Any, operations: list[Any]
) -> None:
    options: dict[str, Any] = {"labelnames": label_names}
    if kind == "Gauge":
        options["multiprocess_mode"] = mode
    if kind == "Histogram":
        options["buckets"] = buckets
    number = next(_number)
    native = Program(kind, type(kind, (KINDS[kind],), {}), f"native_{number}", options)
    stock = Program(kind, stock_kind(kind), f"sstock_{number}", options)
    with warnings.catch_warnings():
        # Removal is not implemented in multiprocess mode.
        warnings.simplefilter("ignore", UserWarning)
        for operation in operations:
            outcomes = [program.do(*operation) for program in (native, stock)]
            assert outcomes[0] == outcomes[1], operation
    assert native.end() == [
        (name.replace("sstock", "native"), *rest)
        for name, *rest in stock.end()  # type: ignore[attr-defined]
    ]
