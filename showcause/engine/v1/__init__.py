"""Stubs of the engine's messages, generated from protos/ by `make protos`."""
