"""Protobuf bodies of built-in kinds → JSON objects. Pure.

kubectl's typed clients (create token, create namespace, auth can-i, …) send Kubernetes' protobuf form and accept JSON back. The envelope is
`k8s\\0` and a `runtime.Unknown` {1: TypeMeta{1: apiVersion, 2: kind}, 2: raw}. Field numbers are in `schema/wire.json`. Fields that Go always
encodes (strings, numbers that are no pointers) are left out when they are zero, as in JSON `omitempty`.
Source: API concepts, "Protobuf encoding idl"; protobuf encoding guide.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

MAGIC = b"k8s\x00"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

Fields = dict[str, list[Any]]


class BadProtobuf(ValueError):
    """Not the envelope, or not decodable; the text names the byte."""


@cache
def wire() -> dict[str, Fields]:
    """Definition → field number → [json name ("" for an embedded struct), type, is pointer]."""
    found: dict[str, Fields] = json.loads((Path(__file__).parent / "schema" / "wire.json").read_bytes())
    return found


def decode(data: bytes, definition: str) -> dict[str, Any]:
    """The object in an envelope, which must be one of `definition`. Raises: BadProtobuf."""
    if not data.startswith(MAGIC):
        raise BadProtobuf("the body does not start with the protobuf magic k8s\\0")
    type_meta: dict[int, bytes] = {}
    raw = b""
    for number, _, value in _fields(data[len(MAGIC) :]):
        if number == 1:
            type_meta = {n: bytes(v) for n, _, v in _fields(_bytes(value)) if not isinstance(v, int)}
        elif number == 2:
            raw = _bytes(value)
    obj = _message(raw, definition)
    for name, number in (("apiVersion", 1), ("kind", 2)):
        if type_meta.get(number):
            obj[name] = _text(type_meta[number])
    return obj


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value): ints for varint and fixed, bytes for length-delimited."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, kind, value
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise BadProtobuf(f"field {number} at byte {at} is cut short")
            yield number, kind, data[at : at + size]
            at += size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            yield number, kind, data[at : at + size]
            at += size
        else:
            raise BadProtobuf(f"unknown wire type {kind} at byte {at}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise BadProtobuf(f"bad varint at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise BadProtobuf("a number where bytes belong")
    return value


def _text(value: Any) -> str:
    try:
        return _bytes(value).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadProtobuf(f"text is not UTF-8: {exc}") from exc


def _message(data: bytes, definition: str) -> dict[str, Any]:
    known = wire()[definition]
    made: dict[str, Any] = {}
    for number, _, value in _fields(data):
        if str(number) not in known:
            raise BadProtobuf(f"{definition} has no field number {number}")
        name, kind, pointer = known[str(number)]
        if not name:
            made.update(_message(_bytes(value), kind))
        elif kind.startswith("[]"):
            made.setdefault(name, []).append(_value(value, kind[2:]))
        elif kind.startswith("{}"):
            key, entry = _entry(_bytes(value), kind[2:])
            made.setdefault(name, {})[key] = entry
        else:
            decoded = _value(value, kind)
            if pointer or (decoded not in ("", 0, False, None) and decoded != {}):
                made[name] = decoded
    return made


def _entry(data: bytes, kind: str) -> tuple[str, Any]:
    key, value = "", _value(b"" if kind not in ("i", "b") else 0, kind)
    for number, _, found in _fields(data):
        if number == 1:
            key = _text(found)
        elif number == 2:
            value = _value(found, kind)
    return key, value


def _value(value: Any, kind: str) -> Any:
    match kind:
        case "s":
            return _text(value)
        case "y":
            return base64.b64encode(_bytes(value)).decode()
        case "i":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "b":
            return bool(value)
        case "d":
            return struct.unpack("<d", value)[0]
        case "time":
            return _time(_bytes(value))
        case "quantity":
            return next((_text(v) for n, _, v in _fields(_bytes(value)) if n == 1), "")
        case "int-or-string":
            found = {n: v for n, _, v in _fields(_bytes(value))}
            return _text(found.get(3, b"")) if found.get(1) else _value(found.get(2, 0), "i")
        case "fields" | "raw":
            text = next((v for n, _, v in _fields(_bytes(value)) if n == 1), b"")
            try:
                return json.loads(text) if text else None
            except ValueError as exc:
                raise BadProtobuf(f"embedded JSON: {exc}") from exc
    if kind.startswith("items:"):
        return [_value(v, kind.removeprefix("items:")) for n, _, v in _fields(_bytes(value)) if n == 1]
    return _message(_bytes(value), kind)


def _time(data: bytes) -> str | None:
    found = {n: v for n, _, v in _fields(data)}
    if not found:
        return None
    seconds = _value(found.get(1, 0), "i")
    moment = datetime.fromtimestamp(seconds, UTC)
    nanos = _value(found.get(2, 0), "i")
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{nanos // 1000:06d}" if nanos else "") + "Z"
