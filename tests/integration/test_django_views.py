"""Views of Django behind its own test client: functions, classes, subclasses, sync and async."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from degrade import SLA, DuplicateFlagError, Runtime, default, degradable, flag
from degrade.clock import ManualClock
from degrade.control import Control
from tests.unit.runtime.doing import classes_of, watch_of

if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="tests.integration.test_django_views")
    django.setup()

urlpatterns: list[Any] = []
ill: set[str] = set()


@pytest.fixture
def runtime(clock: ManualClock, forget_flags: None) -> Iterator[Runtime]:
    ill.clear()
    with Runtime(clock=clock, threads="manual", rng=random.Random(7)) as runtime:
        yield runtime


@pytest.fixture
def control(runtime: Runtime, clock: ManualClock) -> Control:
    return Control(runtime.store, actor="ana", clock=clock)


def answer(words: str) -> JsonResponse:
    if words in ill:
        raise ConnectionError
    return JsonResponse({"stories": [words]})


def calm(*_: Any, **__: Any) -> JsonResponse:
    """What every request gets, a response of its own."""
    return JsonResponse({"stories": []})


def guard(name: str = "page", **settings: Any) -> Any:
    return degradable(name, sla=SLA(errors="5%"), fallback=default(calm), **settings)


def serving(view: Any) -> Any:
    """Let the process serve this view alone."""
    urls = ModuleType("urls")
    urls.urlpatterns = [path("", view), path("<str:user>/", view)]  # type: ignore[attr-defined]
    return override_settings(ROOT_URLCONF=urls)


def asked(view: Any, url: str = "/") -> Any:
    """Return the stories that a client reads."""
    with serving(view):
        return Client().get(url).json()["stories"]


def by_name() -> Any:
    @method_decorator(guard(), name="dispatch")
    class Page(View):
        def get(self, request: HttpRequest, user: str = "new") -> HttpResponse:
            return answer(user)

    return Page


def by_list() -> Any:
    @method_decorator([never_cache, guard()], name="get")
    class Page(View):
        def get(self, request: HttpRequest, user: str = "new") -> HttpResponse:
            return answer(user)

    return Page


def by_list_innermost() -> Any:
    @method_decorator((guard(), never_cache), name="dispatch")
    class Page(View):
        def get(self, request: HttpRequest, user: str = "new") -> HttpResponse:
            return answer(user)

    return Page


def on_a_method() -> Any:
    class Page(View):
        @method_decorator(guard())
        def get(self, request: HttpRequest, user: str = "new") -> HttpResponse:
            return answer(user)

    return Page


def directly() -> Any:
    class Page(View):
        @guard()
        def get(self, request: HttpRequest, user: str = "new") -> HttpResponse:
            return answer(user)

    return Page


def inherited() -> Any:
    class Child(by_name()):  # type: ignore[misc] # a class of a function
        def get(self, request: HttpRequest, user: str = "new") -> HttpResponse:
            return answer(user)

    return Child


def generic() -> Any:
    @method_decorator(guard(), name="get")
    class Page(TemplateView):
        def render_to_response(self, context: Any, **_: Any) -> HttpResponse:
            return answer(context.get("user", "new"))

    return Page


def awaited() -> Any:
    @method_decorator(guard(), name="get")
    class Page(View):
        async def get(self, request: HttpRequest, user: str = "new") -> HttpResponse:
            await asyncio.sleep(0)
            return answer(user)

    return Page


WAYS = [
    by_name, by_list, by_list_innermost, on_a_method, directly, inherited, generic, awaited,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_class_view_is_guarded_over_all_its_requests(
    way: Any, runtime: Runtime, clock: ManualClock
):
    view = way().as_view()
    assert asked(view) == ["new"]
    assert asked(view, "/ana/") == ["ana"]
    watch = watch_of(runtime, "page")
    ill.add("new")
    for _ in range(30):
        assert asked(view) == []
        clock.advance(0.25)
        runtime.tick()
    assert watch_of(runtime, "page") is watch
    assert flag("page").degraded
    assert classes_of(runtime, "page") == {"full": 2, "degraded": 30}
    gc.collect()
    assert len(flag("page").guards) <= 1


def test_the_operator_degrades_a_class_view(runtime: Runtime, control: Control):
    view = by_name().as_view()
    assert flag(view) is flag("page")
    control.hold("page", "degraded", for_=None, reason="drill")
    assert asked(view) == []
    control.release("page", reason="over", now=True)
    assert asked(view) == ["new"]


def test_a_function_view_is_guarded(runtime: Runtime, control: Control):
    @guard()
    def page(request: HttpRequest) -> HttpResponse:
        return answer("new")

    assert asked(page) == ["new"]
    control.hold("page", "degraded", for_=None, reason="drill")
    assert asked(page) == []


def test_an_async_class_view_is_guarded_under_the_async_client(runtime: Runtime, control: Control):
    view = awaited().as_view()

    async def get() -> Any:
        return (await AsyncClient().get("/")).json()["stories"]

    with serving(view):
        assert async_to_sync(get)() == ["new"]
        control.hold("page", "degraded", for_=None, reason="drill")
        assert async_to_sync(get)() == []


def test_subclasses_of_a_guarded_view_share_its_flag(runtime: Runtime, control: Control):
    base = by_name()

    class Child(base):  # type: ignore[misc] # a class of a function
        def get(self, request: HttpRequest, user: str = "other") -> HttpResponse:
            return answer(user)

    views = [base.as_view(), Child.as_view()]
    assert [asked(view) for view in views] == [["new"], ["other"]]
    runtime.tick()
    assert classes_of(runtime, "page") == {"full": 2}
    control.hold("page", "degraded", for_=None, reason="drill")
    assert [asked(view) for view in views] == [[], []]


def test_a_subclass_may_have_a_flag_of_its_own_beside_that_of_its_base(
    runtime: Runtime, control: Control
):
    base = by_name()
    child = method_decorator(guard("child"), name="dispatch")(type("Child", (base,), {}))
    assert asked(child.as_view()) == ["new"]
    runtime.tick()
    assert [classes_of(runtime, name) for name in ("page", "child")] == [{"full": 1}] * 2
    control.hold("child", "degraded", for_=None, reason="drill")
    assert [asked(view.as_view()) for view in (base, child)] == [["new"], []]


def test_a_subclass_that_is_decorated_alike_counts_its_requests_once(runtime: Runtime):
    shared = guard()
    base = method_decorator(shared, name="dispatch")(
        type("Page", (View,), {"get": lambda self, request: answer("new")})
    )
    child = method_decorator(shared, name="dispatch")(type("Child", (base,), {}))
    assert asked(child.as_view()) == ["new"]
    runtime.tick()
    assert classes_of(runtime, "page") == {"full": 1}


def test_two_views_have_a_flag_each(runtime: Runtime, control: Control):
    views = [
        method_decorator(guard(name), name="dispatch")(
            type("Page", (View,), {"get": lambda self, request, name=name: answer(name)})
        ).as_view()
        for name in ("one", "two")
    ]
    control.hold("one", "degraded", for_=None, reason="drill")
    assert [asked(view) for view in views] == [[], ["two"]]


def test_views_of_two_modules_never_share_a_flag_by_its_name(runtime: Runtime):
    source = (
        "@method_decorator(guard('page'), name='dispatch')\nclass Page(View):\n"
        "    def get(self, request): return answer('new')"
    )
    shown: dict[str, Any] = {
        "method_decorator": method_decorator, "guard": degradable, "View": View, "answer": answer,
    }  # fmt: skip
    exec(compile(source, "one.py", "exec"), {**shown, "__name__": "one"})  # noqa: S102 - as a module is
    with pytest.raises(DuplicateFlagError, match=r"declared in one .* and two "):
        exec(compile(source, "two.py", "exec"), {**shown, "__name__": "two"})  # noqa: S102 - as a module is
