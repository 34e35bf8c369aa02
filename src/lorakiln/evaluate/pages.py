"""The pages' templates: of evaluation, and of what else shows pictures with its style."""

import json

import jinja2

from lorakiln.console.counts import format_count


def load_template(name: str, *packages: str) -> jinja2.Template:
    """A template by its file's name, in which everything that is not marked as safe is escaped.

    Args:
        packages: whose folders of templates are looked through before that of evaluation, which has the style and the
            macros.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(one) for one in (*packages, "lorakiln.evaluate")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quoted"] = quote
    environment.filters["counted"] = format_count
    return environment.get_template(name)


def quote(text: str) -> str:
    """A Python string literal in double quotes."""
    return json.dumps(text, ensure_ascii=False)
