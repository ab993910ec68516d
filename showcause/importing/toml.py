"""A table of settings -> TOML. The standard library only reads it."""

import json
from collections.abc import Mapping


def model_toml(settings: Mapping[str, object]) -> str:
    """A model.toml: values first, then one level of tables; those that are empty are left out."""
    tables = {key: value for key, value in settings.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {toml_value(value)}" for key, value in settings.items() if key not in tables]
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """One value; raises TypeError for dates and tables, which no setting of ours is."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)  # the shortest that reads back as the same number
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's
        case list():
            return f"[{', '.join(toml_value(item) for item in value)}]"
    raise TypeError(f"{value!r} is a {type(value).__name__}; allowed: numbers, texts, true, false, and lists of them")
