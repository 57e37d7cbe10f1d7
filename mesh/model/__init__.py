"""The frozen vocabulary that control plane, wire and proxy share. Imports the standard library only.

Field names follow Envoy's v3 API; a docstring names the message where that is not obvious. Every value is
immutable and compared by content, so a configuration is replaced whole and a version is a hash of it.
"""
