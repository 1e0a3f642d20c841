"""Checks answers against docs/openapi.json: a small validator of the parts of JSON Schema that the file uses.

    api = OpenApi()
    api.problems("GET", "/health", 200, {...})   # [] or sentences
"""
import json
import os
import re

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
# What a schema may say here; another word would be passed over without a check, so it is an error.
WORDS = {"type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "minimum", "pattern", "anyOf",
         "$ref", "description", "example", "title"}


class OpenApi:
    def __init__(self, path=os.path.join(TOP, "docs", "openapi.json")):
        self.path = path
        with open(path, encoding="utf-8") as file:
            self.document = json.load(file)
        self.seen = set()  # (method, template, status) that were checked

    def operations(self):
        """(method, template) of all there are."""
        return {(method.upper(), template) for template, methods in self.document["paths"].items() for method in methods
                if method != "parameters"}

    def template(self, path):
        """The path of the document that fits, without variables where one does."""
        path = path.split("?")[0]
        if path in self.document["paths"]:
            return path
        for template in self.document["paths"]:
            if re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template)), path):
                return template
        return None

    def problems(self, method, path, status, body):
        template = self.template(path)
        operation = template and self.document["paths"][template].get(method.lower())
        if not operation:
            return [f"{method} {path} is not in the document"]
        response = operation["responses"].get(str(status))
        if not response:
            return [f"{method} {path} answers {status}, which the document does not have"]
        self.seen.add((method, template, status))
        response = self._resolve(response)
        content = response.get("content", {})
        if "application/json" not in content:
            return [] if not isinstance(body, (dict, list)) else [f"{method} {path}: JSON where the document says {list(content)}"]
        return [f"{method} {path} {status}: {p}" for p in self.check(content["application/json"]["schema"], body, "$")]

    def _resolve(self, node):
        while "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def check(self, schema, value, at):
        unknown = set(schema) - WORDS
        if unknown:
            return [f"{at}: the schema says {sorted(unknown)}, which is not checked"]
        schema = self._resolve(schema)
        if "anyOf" in schema:
            tried = [self.check(one, value, at) for one in schema["anyOf"]]
            return [] if any(not t for t in tried) else min(tried, key=len)
        found = self._check_kind(schema, value, at)
        if found:
            return found
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{at}: {value!r} is none of {schema['enum']}")
        if "const" in schema and value != schema["const"]:
            found.append(f"{at}: {value!r} is not {schema['const']!r}")
        if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
            found.append(f"{at}: {value!r} does not look like {schema['pattern']}")
        if "minimum" in schema and isinstance(value, (int, float)) and value < schema["minimum"]:
            found.append(f"{at}: {value} is less than {schema['minimum']}")
        if isinstance(value, list):
            if len(value) < schema.get("minItems", 0):
                found.append(f"{at}: {len(value)} items, at least {schema['minItems']} wanted")
            for number, item in enumerate(value):
                found += self.check(schema.get("items", {}), item, f"{at}[{number}]")
        if isinstance(value, dict):
            found += self._check_object(schema, value, at)
        return found

    def _check_kind(self, schema, value, at):
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        for kind in kinds:
            if kind in ("integer", "number"):
                if isinstance(value, int) and not isinstance(value, bool) or kind == "number" and isinstance(value, float):
                    return []
            elif isinstance(value, KINDS[kind]):
                return []
        return [f"{at}: {value!r} is no {' or '.join(kinds)}"] if kinds else []

    def _check_object(self, schema, value, at):
        found = [f"{at}.{name} is missing" for name in schema.get("required", []) if name not in value]
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        for name, item in value.items():
            if name in properties:
                found += self.check(properties[name], item, f"{at}.{name}")
            elif others is False:
                found.append(f"{at}.{name} is not in the document")
            elif isinstance(others, dict):
                found += self.check(others, item, f"{at}.{name}")
        return found
