"""Adapters: each turns one client library into the small interface of `suite.contract`."""
