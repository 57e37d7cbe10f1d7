"""Observation: metrics, spans and access logs of what the proxy did.

`record` is filled by the exchange; `http` and `tcp` turn a finished record into series, a span and a log line;
`metrics` is the registry and its exposition, `trace`, `peer` and `request_id` the headers, `otlp` and `log_writer` the
two threads that write to the outside.
"""
