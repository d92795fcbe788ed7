"""A small shop of Flask: views of every form, guarded; for gunicorn and for its own server."""

from __future__ import annotations

import sys
import time
from typing import Any

import flask
import gevent
from flask.views import MethodView
from func_timeout import func_timeout
from werkzeug.exceptions import Forbidden, HTTPException, ServiceUnavailable
from werkzeug.routing import RequestRedirect
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

import degrade
from degrade import SLA, default, degradable, simplified, snapshot
from tests.integration.stacks.common import code_of_default, figures, find_stories, with_shop

QUICK = SLA(errors="5%")

app = flask.Flask(__name__)
app.secret_key = "k" * 50
of_flask = app.wsgi_app


def in_request(environ: Any, start_response: Any) -> Any:
    with degrade.request():
        return of_flask(environ, start_response)


app.wsgi_app = in_request  # type: ignore[method-assign]


@app.before_request
def name_user() -> None:
    if "login" in flask.request.args:
        flask.session["user"] = flask.request.args["login"]
    if "user" in flask.session:
        degrade.identify(flask.session["user"])


@app.after_request
def mark(response: flask.Response) -> flask.Response:
    response.headers["Degraded-Flags"] = ",".join(answer.flag for answer in degrade.served())
    return response


def calm_page(*args: Any, **kwargs: Any) -> flask.Response:
    return flask.jsonify(stories=[])


calm = default(calm_page)


def stories_of(**more: Any) -> dict[str, Any]:
    return {"stories": find_stories("down" in flask.request.args), **more}


# ------------------------------------------------------------------ views of every form


@app.route("/function/<int:number>")
@degradable("function", fallback=calm)
def function(number: int) -> dict[str, Any]:
    return stories_of(number=number)


@app.route("/decorated")
@degradable("decorated", fallback=calm)
@with_shop
def decorated(shop: str, session: str = "none") -> dict[str, Any]:
    return stories_of(shop=shop, session=session)


@app.route("/coroutine")
@degradable("coroutine", fallback=calm)
async def coroutine() -> dict[str, Any]:
    return stories_of()


class Page(MethodView):
    decorators = [degradable("page", fallback=calm)]

    def get(self) -> dict[str, Any]:
        return stories_of()


class Method(MethodView):
    @degradable("method", fallback=calm)
    def get(self) -> dict[str, Any]:
        return stories_of()


app.add_url_rule("/page", view_func=Page.as_view("page"))
app.add_url_rule("/page-again", view_func=Page.as_view("page-again"))
app.add_url_rule("/method", view_func=Method.as_view("method"))


@app.route("/judged")
@degradable("judged", sla=QUICK, fallback=calm)
def judged() -> dict[str, Any]:
    return stories_of()


@app.route("/operated")
@degradable("operated", fallback=calm)
def operated() -> dict[str, Any]:
    return stories_of()


# ------------------------------------------------------------------ exceptions


@app.route("/aborted/<int:status>")
@degradable("aborted", fallback=calm)
def aborted(status: int) -> dict[str, Any]:
    flask.abort(status)


@app.route("/raised/<name>")
@degradable("raised", fallback=calm)
def raised(name: str) -> dict[str, Any]:
    match name:
        case "redirect":
            raise RequestRedirect("/login")
        case "aborted-redirect":
            flask.abort(flask.redirect("/login"))
        case "aborted-response":
            flask.abort(flask.Response("made", 201))
        case "routing":
            adapter = app.create_url_adapter(flask.request)
            adapter.match("/function/none")
        case "exception":
            raise HTTPException(response=Response("not here", 410))
    raise ServiceUnavailable


@app.route("/limited/<how>")
@degradable("limited", fallback=calm)
def limited(how: str) -> dict[str, Any]:
    if how == "gevent":
        with gevent.Timeout(0.05):
            gevent.sleep(30)
    return func_timeout(0.05, time.sleep, (1,))  # type: ignore[no-any-return]


def denied() -> dict[str, Any]:
    raise Forbidden


@app.route("/rung")
@degradable("rung", fallback=[simplified(denied), calm])
def rung() -> dict[str, Any]:
    return stories_of()


# ------------------------------------------------------------------ whose answer it is


@app.route("/shared")
@degradable("shared", fallback=calm)
def shared() -> dict[str, Any]:
    raise ConnectionError


class Mailbox:
    def __init__(self, user: str) -> None:
        self.user = user

    @degradable("inbox", fallback=[snapshot(max_age="1h", key=("page",)), default([])])
    def read(self, page: int) -> list[str]:
        find_stories("down" in flask.request.args)
        return [f"mail of {self.user}"]


@app.route("/inbox")
def inbox() -> list[str]:
    return Mailbox(flask.session.get("user", "nobody")).read(1)


@app.route("/refused")
def refused() -> dict[str, Any]:
    return {"response": code_of_default(flask.jsonify(stories=[]))}


app.add_url_rule("/figures", view_func=figures)

if __name__ == "__main__":
    make_server("127.0.0.1", 0, app, threaded=True, fd=int(sys.argv[1])).serve_forever()
