"""OTLP messages: the protobuf classes of OpenTelemetry's trace service, made from the table below.

The published package opentelemetry-proto shares its files' paths with an old copy inside xds-protos, and which of the
two is found depends on the order of installation. These live in a descriptor pool of their own.
Source: opentelemetry-proto 1.x, collector/trace/v1, trace/v1, resource/v1, common/v1 (fields in use).
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

# message -> field name, number, type; "*" repeated, a capital letter starts the name of a message.
_MESSAGES: dict[str, str] = {
    "AnyValue": "string_value 1 string|bool_value 2 bool|int_value 3 int64|double_value 4 double"
    "|array_value 5 ArrayValue|kvlist_value 6 KeyValueList|bytes_value 7 bytes",
    "ArrayValue": "values 1 *AnyValue",
    "KeyValueList": "values 1 *KeyValue",
    "KeyValue": "key 1 string|value 2 AnyValue",
    "Resource": "attributes 1 *KeyValue",
    "InstrumentationScope": "name 1 string|version 2 string",
    "Status": "message 2 string|code 3 int32",
    "Event": "time_unix_nano 1 fixed64|name 2 string|attributes 3 *KeyValue",
    "Span": "trace_id 1 bytes|span_id 2 bytes|trace_state 3 string|parent_span_id 4 bytes|name 5 string|kind 6 int32"
    "|start_time_unix_nano 7 fixed64|end_time_unix_nano 8 fixed64|attributes 9 *KeyValue|events 11 *Event|status 15 Status",
    "ScopeSpans": "scope 1 InstrumentationScope|spans 2 *Span",
    "ResourceSpans": "resource 1 Resource|scope_spans 2 *ScopeSpans|schema_url 3 string",
    "ExportTraceServiceRequest": "resource_spans 1 *ResourceSpans",
    "ExportTracePartialSuccess": "rejected_spans 1 int64|error_message 2 string",
    "ExportTraceServiceResponse": "partial_success 1 ExportTracePartialSuccess",
}
_PACKAGE = "triomesh.otlp"
_TYPES = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "fixed64": FieldDescriptorProto.TYPE_FIXED64,
}
STATUS_ERROR = 2
"""`Status.StatusCode.STATUS_CODE_ERROR`."""


def _message(name: str, fields: str) -> DescriptorProto:
    message = DescriptorProto(name=name)
    for entry in fields.split("|"):
        field_name, number, kind = entry.split()
        field = message.field.add(name=field_name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
        if kind.startswith("*"):
            kind = kind[1:]
            field.label = FieldDescriptorProto.LABEL_REPEATED
        if kind in _TYPES:
            field.type = _TYPES[kind]
        else:
            field.type = FieldDescriptorProto.TYPE_MESSAGE
            field.type_name = f".{_PACKAGE}.{kind}"
        if name == "AnyValue":
            field.oneof_index = 0
    if name == "AnyValue":
        message.oneof_decl.add(name="value")
    return message


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="triomesh/otlp.proto", package=_PACKAGE, syntax="proto3")
    file.message_type.extend(_message(name, fields) for name, fields in _MESSAGES.items())
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


_CLASSES = _classes()
Resource: Any = _CLASSES["Resource"]
Span: Any = _CLASSES["Span"]
ExportTraceServiceRequest: Any = _CLASSES["ExportTraceServiceRequest"]
ExportTraceServiceResponse: Any = _CLASSES["ExportTraceServiceResponse"]
