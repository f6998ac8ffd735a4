"""Views: the one view that answers everything below its path, in an event loop under ASGI and blocking under WSGI."""

# Django ships no types.
# pyright: basic

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from stepflow.http import asgi, wsgi
from stepflow.http.hosting import is_open
from stepflow.http.messages import Headers, Request, Response
from stepflow.integrations.django import configuring


# Requests with cookies are held against their origin by the API itself, if an auth handler goes by cookies.
@csrf_exempt
@non_atomic_requests
async def answer(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer a request for ``path`` below this view's."""
    if isinstance(request, WSGIRequest):
        return _answer_blocking(request, f"/{path}")  # this event loop is for this request alone
    api = configuring.api()
    if not is_open(api.app):
        raise ImproperlyConfigured(
            "the Stepflow app is not open: in asgi.py, application = with_stepflow(get_asgi_application())"
        )
    answered = await api.handle(_asked(request, f"/{path}", api.max_body))
    if isinstance(answered, Response):
        return _whole(answered)
    return _with_headers(StreamingHttpResponse(answered.chunks(), status=answered.status), answered.headers)


def _asked(request: Any, path: str, max_body: int) -> Request:
    """The request; Django has received its body already."""
    query = request.META["QUERY_STRING"].encode()
    scope = {**request.scope, "path": path, "root_path": "", "query_string": query}
    found = asgi.request_of(scope, request.read(max_body + 1), extra=request)
    if found is None:
        raise AssertionError("without a root path, every path is below it")
    return found


def _answer_blocking(request: Any, path: str) -> HttpResponseBase:
    bridge = configuring.bridge()
    environ = {**request.environ, "PATH_INFO": "/"}  # Django has put the decoded path where the raw one was
    if hasattr(request, "_body"):
        environ["wsgi.input"] = BytesIO(request.body)  # somebody has looked at it before
    asked = wsgi.request_of(environ, base_path="", max_body=bridge.max_body)
    if isinstance(asked, Response):
        return _whole(asked)
    answered = bridge.handle(replace(asked, path=path, extra=request))
    if isinstance(answered, Response):
        return _whole(answered)
    return _with_headers(
        StreamingHttpResponse(bridge.stream(answered), status=answered.status), answered.headers
    )


def _whole(answered: Response) -> HttpResponseBase:
    length = (("Content-Length", str(len(answered.body))),) if answered.status != 204 else ()
    return _with_headers(HttpResponse(answered.body, status=answered.status), (*answered.headers, *length))


def _with_headers(response: HttpResponseBase, headers: Headers) -> HttpResponseBase:
    """The answer with these headers, and none that Django gives to pages."""
    for name in list(response.headers):
        del response.headers[name]
    for name, value in headers:
        response.headers[name] = value
    return response
