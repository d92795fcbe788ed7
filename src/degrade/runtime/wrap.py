"""Make the wrapper of a guarded function: generated for its exact signature, as attrs does.

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
            except Exception:                            # not there, or not hashable
                due = start
            if due <= start:                             # its result may become a snapshot
                return guard.call((user_id,), {})
        started.append(start)
        try:
            result = fn(user_id)
        except BaseException as error:
            result = guard.broke(start, error, (user_id,), {})
            if result is RAISE:
                raise
        else:
            ended((start, clock()))                      # the queue's own `extend`
        return result

The names are cells of the closure around it, so a healthy call reads no attribute but the gate's,
and binding to another runtime writes the cells. Every cell and every variable costs a call about
a nanosecond, which is why the slow ways share the guard's. Functions of one shape share one code object. What
cannot be generated (no signature, exotic names) gets the same with `*args, **kwargs`.
"""

from __future__ import annotations

import functools
import inspect
import keyword
import linecache
from collections.abc import Callable
from inspect import Parameter
from typing import Any, NamedTuple

from degrade.core.words import RungKind
from degrade.fallback.memory import UNDECODED
from degrade.runtime.drive import RAISE
from degrade.runtime.gate import UNBOUND
from degrade.runtime.guard import Guard
from degrade.runtime.provenance import OUTSIDE, context

__all__ = ("Shape", "wrapper_of")

_PREFIX = "_dg_"
_CELLS = ("gate", "clock", "started", "ended")
_SNAPSHOT_CELLS = ("ages", "entries")


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
        looks: There is a snapshot, for which a result may be due.
        key: Expression of its key; None when only the slow way can tell.
        on_the_spot: A snapshot may be answered as it lies in memory.
        accepts: There is an `accept=`.
        deadline: There is a deadline.
    """

    awaits: bool
    looks: bool
    key: str | None
    on_the_spot: bool
    accepts: bool
    deadline: bool


def _source(shape: Shape, plan: Plan) -> str:
    """Return the source of the factory for one shape of function and ladder."""
    awaits, looks, key, on_the_spot, accepts, deadline = plan
    p = _PREFIX
    arguments = f"{shape.args}, {shape.kwargs}"
    wait, a = ("await ", "a") if awaits else ("", "")
    call = f"{p}fn({shape.passing})"
    if deadline:
        call = f"{p}bounded({call})"
    lines = [
        f"{'async ' if awaits else ''}def {p}guarded({shape.parameters}):",
        f"    if {p}gate.shut:",
    ]
    if key is not None and on_the_spot:
        lines += [
            f"        if {p}gate.still:",
            f"            {p}around = {p}context()",
            f"            {p}who = ({p}around or {p}OUTSIDE).who",
            "            try:",
            f"                {p}entry = {p}entries[{key}]",
            f"                {p}value = {p}entry.value",
            f"            except {p}Exception:",
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
            f"        except {p}Exception:",
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
        f"    {p}started.append({p}start)",
        "    try:",
        f"        {p}result = {wait}{call}",
        f"    except BaseException as {p}error:",
        f"        {p}result = {wait}{p}guard.{a}broke({p}start, {p}error, {arguments})",
        f"        if {p}result is {p}RAISE:",
        "            raise",
        "    else:",
    ]
    if accepts:
        lines += [
            f"        if not {p}guard.accepted({p}result):",
            f"            return {wait}{p}guard.{a}rejected({p}start, {p}result, {arguments})",
        ]
    lines += [f"        {p}ended(({p}start, {p}clock()))", f"    return {p}result"]
    cells = _CELLS if key is None else _CELLS + _SNAPSHOT_CELLS
    names = ", ".join(f"{p}{name}" for name in cells)
    taken = ", ".join(f"{p}new_{name}" for name in cells)
    unused = f", *{p}_" if key is None else ""
    return "\n".join(
        [
            f"def {p}factory({p}fn, {p}defaults, {p}guard, {p}bounded, {p}max_age, {p}gate):",
            f"    {names.replace(f'{p}gate, ', '')} = [None] * {len(cells) - 1}",
            f"    def {p}bind({taken}{unused}):",
            f"        nonlocal {names}",
            f"        {names} = {taken}",
            *(f"    {line}" for line in lines),
            f"    return {p}guarded, {p}bind",
            "",
        ]
    )


@functools.cache
def _factory(source: str) -> Callable[..., tuple[Callable[..., Any], Callable[..., None]]]:
    """Compile a factory; functions of the same shape share it, and so their code."""
    filename = f"<degrade wrapper {_factory.cache_info().misses}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    scope: dict[str, Any] = {
        f"{_PREFIX}RAISE": RAISE,
        f"{_PREFIX}UNDECODED": UNDECODED,
        f"{_PREFIX}SNAPSHOT": RungKind.SNAPSHOT,
        f"{_PREFIX}Exception": Exception,
        f"{_PREFIX}context": context,
        f"{_PREFIX}OUTSIDE": OUTSIDE,
        f"{_PREFIX}type": type,
        f"{_PREFIX}map": map,
    }
    exec(compile(source, filename, "exec"), scope)  # noqa: S102 - our own template; of the user's only names that are identifiers
    factory: Callable[..., tuple[Callable[..., Any], Callable[..., None]]]
    factory = scope[f"{_PREFIX}factory"]
    return factory


def wrapper_of(guard: Guard, signature: inspect.Signature | None) -> Callable[..., Any]:
    """Return the wrapper of a guard's function, and give the guard what binds its cells.

    Cost:
        One compilation for each shape of function in the process, about a millisecond.
    """
    shape = shape_of(signature)
    snapshot = guard.snapshot
    key = None
    if snapshot is not None and shape is not GENERIC:
        key = snapshot.keys.fast_expression(
            subject=f"{_PREFIX}who", type_=f"{_PREFIX}type", map_=f"{_PREFIX}map"
        )
    plan = Plan(
        awaits=guard.awaits,
        looks=snapshot is not None,
        key=key,
        on_the_spot=(
            snapshot is not None and guard.rungs[0] is snapshot and snapshot.transform is None
        ),
        accepts=guard.accept is not None,
        deadline=guard.deadline is not None,
    )
    source = _source(shape, plan)
    guarded, guard.bind_cells = _factory(source)(
        guard.fn,
        shape.defaults,
        guard,
        guard.deadline.waited if guard.deadline is not None else None,
        snapshot.max_age_s if snapshot is not None else None,
        UNBOUND,
    )

    functools.update_wrapper(guarded, guard.fn)
    return guarded
