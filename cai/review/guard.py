"""Who may ask the server: pages that it sent itself, opened by whoever has its address.

The server listens on 127.0.0.1 alone, which every web page that is open in a browser can still reach. So the first part
of every path is a token that is drawn at each start; the Host has to be this server's own (or another site's name that
was pointed at 127.0.0.1 would do); what another page sends carries that page's Origin, and is refused. Nothing is a
cookie: cookies of 127.0.0.1 would be seen by every other server on this machine.
"""

import hmac
import secrets

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

TOKEN_BYTES = 24

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every answer carries: only the page's own files are loaded and run, and text can never become a program."""


def new_token() -> str:
    """Return what nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def guarding(token: str) -> Middleware:
    """Return the middleware that refuses strangers, and puts the headers on every answer."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refusal(request, token)
        if refused is not None:
            return web.Response(status=403, text=refused, headers=HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=error.reason, headers=HEADERS)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return guard


def _refusal(request: web.Request, token: str) -> str | None:
    """Return why a request is refused, None where it is not."""
    hosts = _hosts(request)
    if request.headers.get(hdrs.HOST, "").lower() not in hosts:
        return "This server answers under 127.0.0.1 only."
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None and request.method not in ("GET", "HEAD"):
        return "A request that changes something has to come from the page itself."
    if origin is not None and origin.lower() not in {f"http://{host}" for host in hosts}:
        return "Another page may not ask here."
    given = request.path.split("/")[1]
    if not hmac.compare_digest(given.encode(), token.encode()):
        return "The address is not whole: open the one that `cai review` printed, with all its letters."
    return None


def _hosts(request: web.Request) -> set[str]:
    """Return under which names the server is asked: those of this machine, with the port that it listens on."""
    name = None if request.transport is None else request.transport.get_extra_info("sockname")
    return set() if name is None else {f"{host}:{name[1]}" for host in ("127.0.0.1", "localhost")}
