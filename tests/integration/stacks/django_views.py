"""The views of the shop of Django, its middleware and its routes."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from ninja import NinjaAPI, Schema
from rest_framework.exceptions import APIException, NotAuthenticated, Throttled
from rest_framework.response import Response
from rest_framework.views import APIView

import degrade
from degrade import SLA, default, degradable, simplified, snapshot
from tests.integration.stacks.common import code_of_default, figures, find_stories, with_shop

QUICK = SLA(errors="5%")


def calm_page(*args: Any, **kwargs: Any) -> JsonResponse:
    return JsonResponse({"stories": []})


calm = default(calm_page)


def open_request(get_response: Any) -> Any:
    """Open a request around each page, as a middleware of the shop."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with degrade.request() as current:
            response = get_response(request)
            response["Degraded-Flags"] = ",".join(answer.flag for answer in current.served)
            return response

    return middleware


def name_user(get_response: Any) -> Any:
    """Name the visitor, whom the session knows."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if "login" in request.GET:
            request.session["user"] = request.GET["login"]
        if "user" in request.session:
            degrade.identify(request.session["user"])
        return get_response(request)

    return middleware


def stories_of(request: Any, **more: Any) -> JsonResponse:
    return JsonResponse({"stories": find_stories("down" in request.GET), **more})


# ------------------------------------------------------------------ views of every form


@degradable("function", fallback=calm)
def function(request: HttpRequest, number: int) -> HttpResponse:
    return stories_of(request, number=number)


@degradable("decorated", fallback=calm)
@with_shop
def decorated(shop: str, request: HttpRequest, session: str = "none") -> HttpResponse:
    return stories_of(request, shop=shop, session=session)


@method_decorator(degradable("dispatch", sla=QUICK, fallback=calm), name="dispatch")
class Dispatched(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return stories_of(request)

    def post(self, request: HttpRequest) -> HttpResponse:
        return JsonResponse({"posted": request.POST["text"]})


class Method(View):
    @degradable("method", fallback=calm)
    def get(self, request: HttpRequest) -> HttpResponse:
        return stories_of(request)


@method_decorator(degradable("override", fallback=calm), name="get")
class Overridden(Method):
    def get(self, request: HttpRequest) -> HttpResponse:
        return stories_of(request, own=True)


@degradable("coroutine", fallback=calm)
async def coroutine(request: HttpRequest) -> HttpResponse:
    return stories_of(request)


@method_decorator(degradable("async-dispatch", fallback=calm), name="dispatch")
class AsyncDispatched(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return stories_of(request)


@degradable("operated", fallback=calm)
def operated(request: HttpRequest) -> HttpResponse:
    return stories_of(request)


# ------------------------------------------------------------------ exceptions


def raises(request: HttpRequest, name: str) -> HttpResponse:
    raise {
        "missing": Http404,
        "denied": PermissionDenied,
        "bad": BadRequest,
        "suspicious": SuspiciousOperation,
        "throttled": Throttled,
        "anonymous": NotAuthenticated,
        "broken": APIException,
    }[name]


@degradable("raised", fallback=calm)
def raised(request: HttpRequest, name: str) -> HttpResponse:
    return raises(request, name)


class Raised(APIView):
    @degradable("raised-rest", fallback=default(lambda *args, **kwargs: Response({"stories": []})))
    def get(self, request: Any, name: str) -> Any:
        return raises(request, name)


@degradable("moved", fallback=calm)
def moved(request: HttpRequest) -> HttpResponse:
    return redirect("/login")


def denied(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


@degradable("rung", fallback=[simplified(denied), calm])
def rung(request: HttpRequest) -> HttpResponse:
    return stories_of(request)


# ------------------------------------------------------------------ whose answer it is


@degradable("shared", fallback=calm)
def shared(request: HttpRequest) -> HttpResponse:
    raise ConnectionError


class Mailbox:
    def __init__(self, user: str) -> None:
        self.user = user

    @degradable("inbox", fallback=[snapshot(max_age="1h", key=("page",)), default([])])
    def read(self, page: int, down: bool) -> list[str]:
        find_stories(down)
        return [f"mail of {self.user}"]


def inbox(request: HttpRequest) -> HttpResponse:
    user = request.session.get("user", "nobody")
    return JsonResponse(Mailbox(user).read(1, "down" in request.GET), safe=False)


def refused(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"response": code_of_default(JsonResponse({}))})


# ------------------------------------------------------------------ annotations as text


api = NinjaAPI()


class Item(Schema):
    name: str


@api.post("/items")
@degradable("items", fallback=default({"added": False}))
def add_item(request: HttpRequest, item: Item, down: bool = False) -> dict[str, Any]:
    find_stories(down)
    return {"added": item.name}


urlpatterns = [
    path("function/<int:number>", function),
    path("decorated", decorated),
    path("dispatch", Dispatched.as_view()),
    path("method", Method.as_view()),
    path("override", Overridden.as_view()),
    path("coroutine", coroutine),
    path("async-dispatch", AsyncDispatched.as_view()),
    path("operated", operated),
    path("raised/<name>", raised),
    path("raised-rest/<name>", Raised.as_view()),
    path("moved", moved),
    path("rung", rung),
    path("shared", shared),
    path("inbox", inbox),
    path("refused", refused),
    path("api/", api.urls),
    path("figures", lambda request: JsonResponse(figures())),
]
