"""Which version of a strategy this is: its name, the hash of its parameters, and that of the code its targets come from.

Invariant: a change to a file that a strategy imports, however far down, makes another version; a change elsewhere does not.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import SOURCE_SUFFIXES, all_suffixes
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from peak_trade.governance.ladder import StrategyVersion
from peak_trade.journal.run import sha256_of
from peak_trade.model.errors import InputError
from peak_trade.strategy.base import Strategy

#: Our own package: what a strategy takes from it counts as its code, whoever wrote the strategy.
OURS = __name__.partition(".")[0]


class _Source(NamedTuple):
    """A module's file: `relative` is its place within its top-level package, such as `peak_trade/strategy/base.py`."""

    module: str
    path: Path
    relative: str

    @property
    def package(self) -> str:
        """What relative imports in it start from."""
        return self.module if self.path.stem == "__init__" else self.module.rpartition(".")[0]


def version_of(strategy: Strategy) -> StrategyVersion:
    """Return the version of a strategy.

    Its code is every source file that its module imports, transitively, also inside functions, within the module's own
    top-level package and within Peak_Trade; and the same of the strategies that it is made of or derived from. What comes
    from other packages is bound by the dependency lock instead.

    Raises:
        InputError: its source can't be read, or its name is none that a gate can write down.
    """
    files: dict[str, str] = {}
    for module in sorted(_modules(strategy)):
        files |= _hashes(module)
    listed = "".join(f"{relative}\0{sha256}\n" for relative, sha256 in sorted(files.items()))
    plain = {
        "key": strategy.key,
        "params_sha256": sha256_of(strategy.model_dump(mode="json")),
        "code_sha256": hashlib.sha256(listed.encode()).hexdigest(),
    }
    try:
        return msgspec.convert(plain, StrategyVersion)
    except msgspec.ValidationError as error:
        raise InputError(
            f"expected a strategy's key of 1 to 64 letters, digits and the marks . _ -, found {strategy.key!r}; rename it"
        ) from error


def _modules(strategy: Strategy) -> set[str]:
    """Return the modules that a strategy, what it is made of and what it derives from are defined in."""
    found = {kind.__module__ for kind in type(strategy).__mro__ if issubclass(kind, Strategy)}
    return found.union(*(_modules(part) for part in strategy.parts()))


@cache
def _hashes(module: str) -> dict[str, str]:
    """Return the hash of each file that a module's code is in; as of the first time it is asked, as the code itself is."""
    first = _source_of_loaded(module)
    found: dict[str, str] = {}
    waiting = [first]
    while waiting:
        source = waiting.pop()
        if source.relative in found:
            continue
        try:
            content = source.path.read_bytes()
        except OSError as error:
            raise _unreadable(module, f"{source.relative}: {error.strerror or error}") from error
        found[source.relative] = hashlib.sha256(content).hexdigest()
        waiting += (own for name in _imports(source, content) if (own := _source(name)) is not None)
    return found


def _unreadable(module: str, why: str) -> InputError:
    return InputError(
        f"expected to read the source of {module} and of what it imports, found {why}; put the strategy into a file of Python "
        "source, for its version is the hash of that"
    )


def _source_of_loaded(module: str) -> _Source:
    """Return the file of a strategy's module, which is loaded."""
    file = getattr(sys.modules.get(module), "__file__", None)
    path = Path(file) if isinstance(file, str) else None
    if path is None or path.suffix not in SOURCE_SUFFIXES or not path.is_file():
        raise _unreadable(module, "none" if path is None else f"no source file in {path.name}")
    found = _source(module)
    # A module that was loaded from a path belongs to no package, whatever its name is.
    return found if found is not None and found.path.samefile(path) else _Source(module, path, path.name)


def _source(module: str) -> _Source | None:
    """Return where a module is, by the place of its top-level package and without importing it; None where nowhere."""
    top, *below = module.split(".")
    loaded = sys.modules.get(top)
    if loaded is None:
        return None
    for root in _roots(loaded):
        place = root.joinpath(*below)
        names = [place / f"__init__{suffix}" for suffix in SOURCE_SUFFIXES]
        # Compiled modules have imports that can't be read, but bytes that count.
        names += [place.with_name(place.name + suffix) for suffix in all_suffixes()] if below else []
        if path := next((path for path in names if path.is_file()), None):
            return _Source(module, path, f"{top}/{path.relative_to(root).as_posix()}")
    file = getattr(loaded, "__file__", None)
    if not below and isinstance(file, str) and Path(file).stem != "__init__" and Path(file).is_file():
        return _Source(module, Path(file), Path(file).name)
    return None


def _roots(package: ModuleType) -> list[Path]:
    """Return the folders of a package, more than one for a namespace; none for a single module."""
    return [Path(folder) for folder in getattr(package, "__path__", ())]


def _imports(source: _Source, content: bytes) -> Iterator[str]:
    """Yield the modules, of its own top-level package and of ours, that a file may import, and the packages above it.

    `from x import y` names both x and x.y: which of them is a module is found where it is looked for.
    """
    own = {source.module.partition(".")[0], OURS}
    named = [source.module] if source.path.suffix not in SOURCE_SUFFIXES else _named(source, content)
    for name in (source.module, *named):
        parts = name.split(".")
        if parts[0] not in own:
            continue
        # Importing a.b.c runs a and a.b first. That of Peak_Trade itself only says which release it is.
        yield from (
            above for count in range(1, len(parts) + 1) if (above := ".".join(parts[:count])) != OURS and above != source.module
        )


def _named(source: _Source, content: bytes) -> Iterator[str]:
    """Yield the absolute names in the import statements of a file, and in calls that import by a written name."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise _unreadable(source.module, f"no Python in {source.relative}") from error
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _absolute(source, "." * level + (module or ""))
                yield base
                yield from (f"{base}.{alias.name}" for alias in names if alias.name != "*")
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if _called(function) in _IMPORTERS:
                yield _absolute(source, name)


#: Functions that import what their first argument names.
_IMPORTERS = frozenset({"import_module", "__import__"})


def _called(function: Any) -> str:
    return str(getattr(function, "id", None) or getattr(function, "attr", ""))


def _absolute(source: _Source, name: str) -> str:
    """Return a module's absolute name, where it begins with dots that count upwards from a file's package."""
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    if level == 0:
        return name
    package = source.package.split(".")
    above = package[: max(len(package) - level + 1, 0)]
    return ".".join([*above, bare] if bare else above)
