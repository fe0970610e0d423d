"""As much of JSON Schema as our schemas use; an unknown keyword fails rather than passes."""

import re
from typing import Any

TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "number": (int, float)}
KEYWORDS = {
    "$comment", "type", "required", "additionalProperties", "properties", "items", "const",
    "pattern", "anyOf", "minItems", "maxItems", "minimum", "maximum",
}  # fmt: skip


def problems(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """What of a value is not as the schema says, by its place."""
    assert not (unknown := set(schema) - KEYWORDS), unknown
    found = []
    if "const" in schema and not (
        type(value) is type(schema["const"]) and value == schema["const"]
    ):
        found.append(f"{where}: is {value!r}, not {schema['const']!r}")
    if kind := schema.get("type"):
        number = isinstance(value, bool) and kind in ("number", "integer")
        if number or not isinstance(value, TYPES.get(kind, int)):
            return [*found, f"{where}: is no {kind}"]
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{where}: {value!r} does not match")
    if "minimum" in schema and not schema["minimum"] <= value <= schema["maximum"]:
        found.append(f"{where}: {value} is out of range")
    if "anyOf" in schema:
        ways = [problems(value, each, where) for each in schema["anyOf"]]
        if all(ways):
            found.append(f"{where}: fits none: {ways}")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{where}: has {len(value)} items")
        for number, each in enumerate(value):
            found += problems(each, schema.get("items", {}), f"{where}[{number}]")
    if isinstance(value, dict):
        found += [
            f"{where}: lacks {name}" for name in schema.get("required", []) if name not in value
        ]
        known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        for name, each in value.items():
            if name in known:
                found += problems(each, known[name], f"{where}.{name}")
            elif other is False:
                found.append(f"{where}: {name} is unknown")
            else:
                found += problems(each, other, f"{where}.{name}")
    return found
