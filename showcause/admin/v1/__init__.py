"""Stubs of the admin RPC, generated from protos/ by `make protos`."""
