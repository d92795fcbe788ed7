"""Make the wrapper of a guarded function: generated for its exact parameters, as attrs does.

What is generated for `def ranked_feed(user_id: str) -> list[Story]` with a snapshot:

    def guarded(user_id):
        if gate.shut:                                    # degraded, or the ticker sleeps
            if gate.still:                               # every call is degraded
                ... answer here what lies decoded in memory and is young enough ...
            return guard.call((user_id,), {})            # the slow way
        start = clock()
        if start >= gate.look_from:                      # nearly always
            around = context()
            who = (around or OUTSIDE).who
            try:
                due = entries[user_id, type(user_id), who].due
            except:                                      # not there, or not hashable
                if guard.is_interrupted():
                    raise
                due = start
            if due <= start:                             # its result may become a snapshot
                return guard.call((user_id,), {})
        try:
            started.append(start)
            result = fn(user_id)
            end = clock()
            ended((start, end))                          # the queue's own `extend`
            return result
        except BaseException as error:
            pending = [error]
            try:
                result = guard.broke(start, pending, (user_id,), {})
            except BaseException:
                guard.settle(start, pending)
                raise
            if result is RAISE:
                raise
            return result

The names are cells of the closure around it, so a healthy call reads no attribute but the gate's,
and binding to another runtime writes the cells. Every cell and every variable costs a call about
a nanosecond, which is why the slow ways share the guard's. Functions of one shape share one code
object, and the globals of the wrapper are those of the function, which frameworks read to resolve
annotations. What cannot be generated (parameters that only the function below can tell, exotic
names) gets the same with `*args, **kwargs`.

Each line of the `try` has at most one call, after which an interrupt may come, so the line of a
traceback says how far the call got (see `CallSite`).
"""

from __future__ import annotations

import functools
import inspect
import keyword
import linecache
import weakref
from collections.abc import Callable
from inspect import Parameter
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from degrade.context import OUTSIDE, context
from degrade.core.enums import RungKind
from degrade.fallback.snapshots.memory_tier import UNDECODED
from degrade.runtime.calls.guarded_function import GuardedFunction
from degrade.runtime.monitoring.fast_path import UNBOUND

__all__ = ("Shape", "wrapper_of")

_PREFIX = "_dg_"
_CELLS = ("gate", "clock", "started", "ended")
_SNAPSHOT_CELLS = ("ages", "entries")
_GIVEN = (
    "fn", "defaults", "guard", "bounded", "max_age", "gate", "UNDECODED", "SNAPSHOT",
    "OUTSIDE", "BaseException", "context", "type", "map",
)  # fmt: skip
"""What a factory takes; builtins too, because the globals of the wrapper are the user's."""


class Shape(NamedTuple):
    """A parameter list and how to pass it on, as source text.

    Attributes:
        parameters: For the `def` line.
        passing: For the call of the function.
        args, kwargs: Expressions that build both for the slow way.
        names: Names of the parameters.
        defaults: Values of the defaults, in order.
    """

    parameters: str
    passing: str
    args: str
    kwargs: str
    names: tuple[str, ...]
    defaults: tuple[Any, ...]


GENERIC = Shape("*args, **kwargs", "*args, **kwargs", "args", "kwargs", (), ())


def shape_of(signature: inspect.Signature | None) -> Shape:
    """Return the shape of a signature; `GENERIC` when it cannot be generated."""
    if signature is None or not all(
        name.isidentifier() and not keyword.iskeyword(name) and not name.startswith(_PREFIX)
        for name in signature.parameters
    ):
        return GENERIC
    texts: list[str] = []
    passing: list[str] = []
    args: list[str] = []
    kwargs: list[str] = []
    defaults: list[Any] = []
    before = None
    for name, parameter in signature.parameters.items():
        kind = parameter.kind
        if before is Parameter.POSITIONAL_ONLY and kind is not Parameter.POSITIONAL_ONLY:
            texts.append("/")
        if kind is Parameter.KEYWORD_ONLY and before not in (
            Parameter.KEYWORD_ONLY,
            Parameter.VAR_POSITIONAL,
        ):
            texts.append("*")
        before = kind
        text = name
        if parameter.default is not Parameter.empty:
            text = f"{name}={_PREFIX}defaults[{len(defaults)}]"
            defaults.append(parameter.default)
        if kind is Parameter.VAR_POSITIONAL:
            texts.append(f"*{name}")
            passing.append(f"*{name}")
            args.append(f"*{name}")
        elif kind is Parameter.VAR_KEYWORD:
            texts.append(f"**{name}")
            passing.append(f"**{name}")
            kwargs.append(f"**{name}")
        elif kind is Parameter.KEYWORD_ONLY:
            texts.append(text)
            passing.append(f"{name}={name}")
            kwargs.append(f"{name!r}: {name}")
        else:
            texts.append(text)
            passing.append(name)
            args.append(name)
    if before is Parameter.POSITIONAL_ONLY:
        texts.append("/")
    return Shape(
        parameters=", ".join(texts),
        passing=", ".join(passing),
        args=f"({', '.join(args)}{',' if args else ''})",
        kwargs=f"{{{', '.join(kwargs)}}}",
        names=tuple(signature.parameters),
        defaults=tuple(defaults),
    )


class Plan(NamedTuple):
    """What else decides about the source.

    Attributes:
        awaits: The function is a coroutine function.
        learns: It may return awaitables, which only its results can tell.
        looks: There is a snapshot, for which a result may be due.
        key: Expression of its key; None when only the slow way can tell.
        on_the_spot: A snapshot may be answered as it lies in memory.
        accepts: There is an `accept=`.
        deadline: There is a deadline.
    """

    awaits: bool
    learns: bool
    looks: bool
    key: str | None
    on_the_spot: bool
    accepts: bool
    deadline: bool


@functools.cache
def _source(shape: Shape, plan: Plan) -> str:
    """Return the source of the factory for one shape of function and ladder, without defaults."""
    awaits, learns, looks, key, on_the_spot, accepts, deadline = plan
    p = _PREFIX
    arguments = f"{shape.args}, {shape.kwargs}"
    wait, a = ("await ", "a") if awaits else ("", "")
    call = f"{p}fn({shape.passing})"
    if deadline:
        call = f"{p}bounded(lambda: {call})"
    lines = [
        f"{'async ' if awaits else ''}def {p}guarded({shape.parameters}):",
        f"    if {p}gate.shut{f' or {p}guard.awaits_result' if learns else ''}:",
    ]
    if key is not None and on_the_spot:
        lines += [
            f"        if {p}gate.still:",
            f"            {p}around = {p}context()",
            f"            {p}who = ({p}around or {p}OUTSIDE).who",
            "            try:",
            f"                {p}entry = {p}entries[{key}]",
            f"                {p}value = {p}entry.value",
            "            except:",
            f"                if {p}guard.is_interrupted():",
            "                    raise",
            f"                {p}value = {p}UNDECODED",
            f"            if {p}value is not {p}UNDECODED:",
            f"                {p}age = {p}clock() - {p}entry.at",
            f"                if {p}age < {p}max_age:",
            f"                    {p}ages.append({p}age)",
            f"                    if {p}around is not None:",
            f"                        {p}around.note(({p}gate.stamp, {p}SNAPSHOT, {p}age))",
            f"                    return {p}value",
        ]
    lines += [
        f"        return {wait}{p}guard.{a}call({arguments})",
        f"    {p}start = {p}clock()",
    ]
    if key is not None:
        lines += [
            f"    if {p}start >= {p}gate.look_from:",
            f"        {p}around = {p}context()",
            f"        {p}who = ({p}around or {p}OUTSIDE).who",
            "        try:",
            f"            {p}due = {p}entries[{key}].due",
            "        except:",
            f"            if {p}guard.is_interrupted():",
            "                raise",
            f"            {p}due = {p}start",
            f"        if {p}due <= {p}start:",
            f"            return {wait}{p}guard.{a}call({arguments})",
        ]
    elif looks:
        lines += [
            f"    if {p}start >= {p}gate.look_from:",
            f"        return {wait}{p}guard.{a}call({arguments})",
        ]
    lines += [
        "    try:",
        f"        {p}started.append({p}start)",
        f"        {p}result = {wait}{call}",
    ]
    if learns:
        lines += [
            f"        if {p}guard.is_awaitable({p}result):",
            f"            return {p}guard.awaiting({p}start, {p}result, {arguments})",
        ]
    if accepts:
        lines += [f"        if {p}guard.accepted({p}result):"]
    indent = "    " if accepts else ""
    lines += [
        f"        {indent}{p}end = {p}clock()",
        f"        {indent}{p}ended(({p}start, {p}end))",
        f"        {indent}return {p}result",
        f"    except {p}BaseException as {p}error:",
        f"        {p}pending = [{p}error]",
        *_ending(f"{wait}{p}guard.{a}broke({p}start, {p}pending, {arguments})", 2),
        f"        if {p}result is {p}guard.RAISE:",
        "            raise",
        f"        return {p}result",
    ]
    if accepts:
        broken = f"{wait}{p}guard.{a}rejected({p}start, {p}pending, {p}result, {arguments})"
        lines += [f"    {p}pending = [None]", *_ending(broken, 1), f"    return {p}result"]
    cells = _CELLS if key is None else _CELLS + _SNAPSHOT_CELLS
    names = ", ".join(f"{p}{name}" for name in cells)
    taken = ", ".join(f"{p}new_{name}" for name in cells)
    unused = f", *{p}_" if key is None else ""
    return "\n".join(
        [
            f"def {p}factory({', '.join(p + name for name in _GIVEN)}):",
            f"    {names.replace(f'{p}gate, ', '')} = [None] * {len(cells) - 1}",
            f"    def {p}bind({taken}{unused}):",
            f"        nonlocal {names}",
            f"        {names} = {taken}",
            *(f"    {line}" for line in lines),
            f"    return {p}guarded, {p}bind",
            "",
        ]
    )


def _ending(expression: str, depth: int) -> list[str]:
    """Return the lines that end a call off the healthy way, also when they are interrupted."""
    lines = [
        "try:",
        f"    {_PREFIX}result = {expression}",
        "except:",
        f"    {_PREFIX}guard.settle({_PREFIX}start, {_PREFIX}pending)",
        "    raise",
    ]
    return [f"{'    ' * depth}{line}" for line in lines]


@functools.cache
def _factory(source: str) -> CodeType:
    """Compile a factory; functions of the same shape share it, and so their code."""
    filename = f"<degrade wrapper {_factory.cache_info().misses}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    scope: dict[str, Any] = {}
    exec(compile(source, filename, "exec"), scope)  # noqa: S102 - our own template; of the user's only names that are identifiers
    factory: FunctionType = scope[f"{_PREFIX}factory"]
    return factory.__code__


def _lines_of(source: str) -> tuple[int, int]:
    """Return the numbers of the lines that call the function and that record its end."""
    lines = [line.strip() for line in source.splitlines()]
    called = lines.index(f"{_PREFIX}started.append({_PREFIX}start)") + 2
    return called, lines.index(f"{_PREFIX}ended(({_PREFIX}start, {_PREFIX}end))") + 1


def wrapper_of(guard: GuardedFunction, signature: inspect.Signature | None) -> Callable[..., Any]:
    """Return the wrapper of a guard's function, and give the guard what binds its cells.

    Args:
        guard: The guard.
        signature: The parameters of its function itself; None when only a call shows them.

    Cost:
        One compilation for each shape of function in the process, about a millisecond.
    """
    shape = shape_of(signature)
    snapshot = guard.snapshot
    key = None
    if snapshot is not None and snapshot.keys.parameters == shape.names:
        key = snapshot.keys.fast_expression(
            subject=f"{_PREFIX}who", type_=f"{_PREFIX}type", map_=f"{_PREFIX}map"
        )
    plan = Plan(
        awaits=guard.awaits,
        learns=not guard.awaits,
        looks=snapshot is not None,
        key=key,
        on_the_spot=(
            snapshot is not None and guard.rungs[0] is snapshot and snapshot.transform is None
        ),
        accepts=guard.accept is not None,
        deadline=guard.deadline is not None,
    )
    bare = shape._replace(defaults=())
    source = _source(bare, plan)
    given: dict[str, Any] = {
        "fn": guard.fn,
        "defaults": shape.defaults,
        "guard": guard,
        "bounded": None if guard.deadline is None else guard.deadline.wait_for,
        "max_age": None if snapshot is None else snapshot.max_age_s,
        "gate": UNBOUND,
        "UNDECODED": UNDECODED,
        "SNAPSHOT": RungKind.SNAPSHOT,
        "OUTSIDE": OUTSIDE,
        "BaseException": BaseException,
        "context": context,
        "type": type,
        "map": map,
    }
    factory = FunctionType(_factory(source), _globals_of(guard.fn))
    guarded: FunctionType
    guarded, guard.bind_cells = factory(*map(given.__getitem__, _GIVEN))
    guard.site.place(guarded.__code__, *_lines_of(source))
    if plan.learns:
        source = _source(bare, plan._replace(learns=False))
        code = _wrapper_code(source)  # compiled now: an interrupt could keep each call from it
        guard.forget_awaitables = functools.partial(
            _relearn, weakref.ref(guarded), code, *_lines_of(source)
        )
    functools.update_wrapper(guarded, guard.fn)
    return guarded


def _wrapper_code(source: str) -> CodeType:
    """Return the code of the wrapper that a factory makes."""
    found = (each for each in _factory(source).co_consts if isinstance(each, CodeType))
    return next(code for code in found if code.co_name == f"{_PREFIX}guarded")


def _relearn(
    wrapper: weakref.ref[FunctionType],
    code: CodeType,
    call_line: int,
    end_line: int,
    guard: GuardedFunction,
) -> None:
    """Give a wrapper the code without the questions that the first results have answered."""
    guarded = wrapper()
    if guarded is not None:
        guarded.__code__ = code
        guard.site.place(code, call_line, end_line)


def _globals_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the globals of the function at the bottom, where its annotations are resolved."""
    inner = inspect.unwrap(fn)
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = getattr(inner, "__func__", inner)
    if not hasattr(inner, "__globals__"):
        inner = getattr(type(inner), "__call__", inner)  # noqa: B004 - the method, not whether there is one
    found: dict[str, Any] = getattr(inner, "__globals__", None) or {"__name__": __name__}
    return found
