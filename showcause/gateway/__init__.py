"""The public face: typed requests, errors, limits, deadlines, health, metrics, gRPC and REST. Imports no torch."""
