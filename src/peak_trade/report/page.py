"""HTML pages that need nothing but themselves: text from a template, charts from bokeh's script inside the page.

Invariant: a page loads nothing. Its content security policy forbids every request, so a mistake here can't break that.
Invariant: the same input gives the same bytes.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from bokeh.document import Document
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from peak_trade.report.figures import plural


def render(template: str, charts: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return a page.

    Args:
        template: file name under `templates/`.
        charts: bokeh figures by the id of the element they are drawn into; all share one document, so that their
            ranges can be linked.
        facts: what the template names.
    """
    told = {"charts": drawings(charts), "bokeh": _script()} if charts else {"charts": None, "bokeh": ""}
    return _templates().get_template(template).render(**facts, **told)


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("peak_trade.report"),
        # Reports are English; the pieces that they share with the dashboard are marked for its translations.
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.install_null_translations(newstyle=False)  # type: ignore[attr-defined]
    found.filters["plural"] = plural
    # Bokeh describes a model where it first occurs and refers to it afterwards: the order of keys matters.
    found.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return found


@cache
def _script() -> Markup:
    """Return bokeh's core script, which its package ships."""
    return Markup("\n".join(Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw))  # noqa: S704


def drawings(charts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `Bokeh.embed.embed_items` takes: the document and which of its roots goes into which element."""
    document = Document(title="report")
    for chart in charts.values():
        document.add_root(chart)
    encoded: dict[str, Any] = json.loads(json.dumps(document.to_json(deferred=False)))
    _renumber(encoded, {})
    roots = {root["id"]: name for root, name in zip(encoded["roots"], charts, strict=True)}
    return {"documents": {"report": encoded}, "items": [{"docid": "report", "roots": roots, "root_ids": list(roots)}]}


def _renumber(part: Any, numbers: dict[str, str]) -> None:
    """Number bokeh's models in the order in which they occur: it counts on from page to page."""
    if isinstance(part, dict):
        if isinstance(name := part.get("id"), str):
            part["id"] = numbers.setdefault(name, f"m{len(numbers)}")
        for value in part.values():
            _renumber(value, numbers)
    elif isinstance(part, list):
        for value in part:
            _renumber(value, numbers)
