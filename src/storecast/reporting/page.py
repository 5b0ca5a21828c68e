"""The page: content, prose and pictures in one HTML file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from storecast.reporting.content import Content
from storecast.reporting.figures import embedded, pictures
from storecast.reporting.wording import Wording, Words, reality, segment_name, words


def page(content: Content, prose: Words | None = None) -> str:
    """The HTML of a report.

    Script and style are in the page and named by their hashes in its content security policy,
    so that nothing else can run or be loaded, whatever the texts hold.
    """
    style = _text("vendor/uPlot.min.css") + "\n" + _text("templates/report.css")
    script = _text("vendor/uPlot.iife.min.js") + "\n" + _text("templates/report.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_text("templates/report.html.j2"))
    say = Wording(content.setting.locale, content.setting.currency)
    return template.render(
        content=content,
        words=prose or words(content),
        say=say,
        reality=reality(say, content.trust) if content.trust else None,
        segment_name=segment_name,
        soft=_soft,
        others=[m for m in ("wape", "mase", "rmsse") if m != content.setting.metric],
        policy=_policy(script, style),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        pictures=embedded(pictures(content)),
    )


def _soft(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _policy(script: str, style: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(path: str) -> str:
    file = resources.files("storecast.reporting").joinpath(*path.split("/"))
    return file.read_text("utf-8").replace("\r\n", "\n").strip()
