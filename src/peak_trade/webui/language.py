"""The dashboard's languages: English as written, German from a catalogue.

A text is English where it stands and the key of its translation; what has none is shown as it is.
"""

from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import NamedTuple

from babel import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from starlette.requests import Request

#: Languages by their code, under the name each gives itself; the first is what texts are written in.
LANGUAGES = {"en": "English", "de": "Deutsch"}
COOKIE = "peak_trade_language"


class Language(NamedTuple):
    """A language and its texts."""

    code: str
    translations: NullTranslations

    def text(self, words: str) -> str:
        """Return a text in this language."""
        return str(self.translations.gettext(words)) if words else ""


@cache
def language(code: str) -> Language:
    """Return a language by its code."""
    if code == "en":
        return Language(code, NullTranslations())
    source = files("peak_trade.webui").joinpath("locale", code, "LC_MESSAGES", "dashboard.po").read_bytes()
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(source), locale=Locale(code)))
    compiled.seek(0)
    return Language(code, Translations(compiled, "dashboard"))


def chosen(request: Request) -> Language:
    """Return the reader's language: as just switched, as switched before, or as the browser asks."""
    for given in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if given in LANGUAGES:
            return language(given)
    return language(negotiate_locale(_asked(request.headers.get("accept-language", "")), list(LANGUAGES), sep="-") or "en")


def _asked(header: str) -> list[str]:
    """Return the languages of an Accept-Language header, the most wanted first."""
    ranked = []
    for part in header.split(",")[:20]:
        name, _, weight = part.partition(";q=")
        try:
            ranked.append((-float(weight or 1), name.strip()))
        except ValueError:
            continue
    return [name for weight, name in sorted(ranked, key=lambda item: item[0]) if weight < 0]
