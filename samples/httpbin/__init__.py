"""Httpbin: an HTTP service that tells what it was asked, to try routes, headers, delays and statuses with."""
