"""The explanation methods; a key is the field name in the oneof of ``showcause.v1.Method``."""

from showcause.methods import filter_parts, linear_map
from showcause.methods.base import Ask, Attribution, MethodRow

METHODS: dict[str, MethodRow] = {
    "linear_map": MethodRow(1, linear_map.suits, linear_map.settle, linear_map.explain),
    "filter_parts": MethodRow(1, filter_parts.suits, filter_parts.settle, filter_parts.explain),
}

__all__ = ["METHODS", "Ask", "Attribution", "MethodRow"]
