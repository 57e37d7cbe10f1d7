"""Rewrites: the path a request goes on with, and where a redirect points."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from mesh.model.match import PathKind, PathMatch
from mesh.model.route import FullRewrite, PathRewrite, PrefixRewrite, RedirectAction, RegexRewrite
from mesh.proxy.head import Head
from mesh.proxy.match import CompileError, compile_regex

PathChange = Callable[[bytes], bytes]

_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}


def compile_path_rewrite(rewrite: PathRewrite, match: PathMatch, field: str) -> PathChange:
    """A function from the path (without query) to the new one. Raises CompileError."""
    match rewrite:
        case FullRewrite(path):
            whole = target_text(path, field)
            return lambda _: whole
        case RegexRewrite(pattern, substitution):
            regex = compile_regex(pattern, field)
            replacement = target_text(substitution, field)
            _check_groups(substitution, regex.groups, field)
            return lambda path: bytes(regex.sub(replacement, path)) or b"/"
        case PrefixRewrite(prefix):
            return _prefix_change(target_text(prefix, field), match)
        case _:
            assert_never(rewrite)


def target_text(text: str, field: str) -> bytes:
    """Bytes for a request line, a Host or a Location. Raises CompileError."""
    if any(ord(char) <= 32 or ord(char) >= 127 for char in text):
        raise CompileError(f"{field}: {text!r} holds a character that a request target cannot have")
    return text.encode()


def _check_groups(substitution: str, groups: int, field: str) -> None:
    position = 0
    while (position := substitution.find("\\", position)) >= 0:
        escaped = substitution[position + 1 : position + 2]
        if escaped.isdigit() and int(escaped) > groups:
            raise CompileError(f"{field}: the substitution names group \\{escaped}, the pattern has {groups}")
        if not escaped.isdigit() and escaped != "\\":
            raise CompileError(f"{field}: a backslash in a substitution is followed by a digit or a backslash")
        position += 2


def _prefix_change(prefix: bytes, match: PathMatch) -> PathChange:
    if match.kind in (PathKind.EXACT, PathKind.REGEX):
        # Envoy: the matched part of an exact or regex path is all of it.
        return lambda _: prefix
    size = len(match.value.encode())
    if match.kind is PathKind.SEGMENT_PREFIX:
        # Gateway API ReplacePrefixMatch: /foo -> / turns /foo/bar into /bar, never //bar.
        size = len(match.value.rstrip("/").encode())
        base = prefix.rstrip(b"/")
        return lambda path: (base + path[size:]) or b"/"
    return lambda path: prefix + path[size:]


def query_of(target: bytes) -> bytes:
    """The query of a request target with its question mark, which counts even when nothing follows it; else b""."""
    at = target.find(b"?")
    return target[at:] if at >= 0 else b""


def compile_location(
    action: RedirectAction, match: PathMatch, field: str
) -> Callable[[Head, bytes], bytes]:
    """A function (head, scheme of the request) to the Location header's value.

    Source: Envoy `RedirectAction`. A replaced host takes no port over; the default port of a scheme is left out.
    """
    if action.status not in (301, 302, 303, 307, 308):
        raise CompileError(f"{field}: a redirect has status 301, 302, 303, 307 or 308, not {action.status}")
    change = compile_path_rewrite(action.path, match, f"{field} path") if action.path is not None else None
    scheme_bytes = target_text(action.scheme, f"{field} scheme") if action.scheme is not None else None
    host_bytes = target_text(action.host, f"{field} host") if action.host is not None else None
    fixed_port, strip_query = action.port, action.strip_query

    def location(head: Head, request_scheme: bytes) -> bytes:
        scheme = scheme_bytes or request_scheme
        default_port = _DEFAULT_PORTS.get(scheme)
        told_port = b"%d" % fixed_port if fixed_port else b""
        if host_bytes is not None:
            # The host's own port stands unless another is asked for. (Envoy writes both then, which is no URL.)
            name, port = _split_port(host_bytes)
            if told_port not in (b"", default_port):
                port = told_port
        else:
            name, port = _split_port(head.authority)
            if scheme != request_scheme and port == _DEFAULT_PORTS.get(request_scheme):
                port = b""
            if fixed_port is not None:
                port = told_port
        if port == default_port:
            port = b""
        path, query = head.path, b"" if strip_query else query_of(head.target)
        if change is not None:
            path = change(path)
            if b"?" in path:
                query = b""
            if path[:1] != b"/":
                path = b"/" + path
        authority = b"%b:%b" % (name, port) if port else name
        return b"%b://%b%b%b" % (scheme, authority, path, query)

    return location


def own_url(head: Head, scheme: bytes) -> bytes:
    """The URL that was asked for."""
    return b"%b://%b%b%b" % (scheme, head.authority, head.path, query_of(head.target))


def _split_port(authority: bytes) -> tuple[bytes, bytes]:
    name, colon, port = authority.rpartition(b":")
    if colon and port.isdigit() and (b":" not in name or name.endswith(b"]")):
        return name, port
    return authority, b""


def without_port(authority: bytes) -> bytes:
    """The host of `host:port`, `[v6]:port`, or of an authority that has no port."""
    return _split_port(authority)[0]
