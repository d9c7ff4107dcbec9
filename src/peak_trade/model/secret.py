"""A text that must not be seen: whatever shows, formats or copies it, shows three stars."""

from typing import NoReturn, final

_SHOWN = "***"


@final
class Secret:
    """A secret and where it came from; only `reveal` gives it away.

    Attributes:
        name: the environment variable that held it; may be shown.
    """

    __slots__ = ("_text", "name")

    name: str
    _text: str

    def __init__(self, name: str, text: str) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """Return the text; for signing and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({self.name}, {_SHOWN})"

    def __str__(self) -> str:
        return _SHOWN

    def __format__(self, _how: str) -> str:
        return _SHOWN

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        raise AttributeError(f"a secret can't be changed; its {name} was to be")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret can't be pickled or copied; pass it on as it is")
