"""What a program's source says about its imports: who needs them while the program starts, and who only later.

Nothing is imported or run: files are read, if they are still there and have not changed since the start. Where they do
not say, nothing is said.

Reading order: Block, Source (one file of the program's own); Sources: use_of() says who uses the names of an import
statement, loaded_without() which modules the program would load without that statement.
"""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass, field
from stat import S_ISREG
from typing import TYPE_CHECKING

from .critical import is_own
from .validation import location

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import TypeGuard

    Place = tuple[str, int]  # file and line

MAX_FILES = 4_000
MAX_SIZE = 2_000_000  # bytes of one file
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
AT_ONCE = ("__init__", "__new__", "__post_init__", "__enter__", "__aenter__", "__init_subclass__", "__call__")


@dataclass(slots=True)
class Wanted:
    """One ``import`` or ``from`` as it stands there: module with its leading dots, names that are taken from it."""

    line: int
    module: str
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class Block:
    """Code that runs together: a module's own, or a function's with all that is defined in it.

    Attributes:
        name: ``Class.method`` or ``function``; empty of the module's own.
        names: those that are read, with the first line.
        calls: simple names of what is called, or handed to something that may call it, and attributes that are read.
        made: its calls as they are written, ``time.sleep`` or ``sleep``, with their lines.
        imports: what it imports.
        parameters: names that hide those of the module.
    """

    name: str
    line: int = 0
    names: dict[str, int] = field(default_factory=dict)
    calls: set[str] = field(default_factory=set)
    made: list[tuple[str, int]] = field(default_factory=list)
    imports: list[Wanted] = field(default_factory=list)
    parameters: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Use:
    """Who uses the names that an import statement binds.

    Attributes:
        state: ``loading`` (code of the module itself), ``starting`` (a function that the start may call), ``later``
            (functions that nothing in the start calls), ``nobody`` in this file, or ``function`` (the statement stands
            in a function).
        functions: of ``starting`` and ``later``, their names; of ``function``, the one around it.
        line: of ``loading``, where.
        statement: lines of the statement.
    """

    state: str
    functions: tuple[str, ...] = ()
    line: int = 0
    statement: tuple[int, int] = (0, 0)


class Source:
    """One file of the program's own, parsed."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.tree = ast.parse(text)
        self.module = Block("")
        self.functions: list[Block] = []
        self.classes: set[str] = set()
        self.exported = _exported(self.tree)
        self.lazy_annotations = "from __future__ import annotations" in text
        calls = [one for one in self.tree.body if not isinstance(one, (*DEFINITIONS, ast.ClassDef))]
        self._until_ready(self.tree.body, calls, self.module, "")

    def blocks(self) -> Iterator[Block]:
        """Yield the module's own block, then those of the functions."""
        yield self.module
        yield from self.functions

    def _visit(self, node: ast.AST, block: Block, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            self._take(child, block, prefix)

    def _take(self, node: ast.AST, block: Block, prefix: str) -> None:
        if isinstance(node, DEFINITIONS):
            self._define(node, block, prefix)
            return
        if isinstance(node, ast.ClassDef):
            self.classes.add(node.name)
            self._visit(node, block, f"{prefix}{node.name}.")
            return
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for child in node.orelse:
                self._take(child, block, prefix)
            return
        if isinstance(node, ast.AnnAssign) and self.lazy_annotations:
            self._take(node.target, block, prefix)
            if node.value is not None:
                self._take(node.value, block, prefix)
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            block.names.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.Attribute):
            block.calls.add(node.attr)
        elif isinstance(node, ast.Call):
            given = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
            block.calls.update(one.id for one in given if isinstance(one, ast.Name))
            block.made.append((_written(node.func), node.lineno))
        elif isinstance(node, ast.Import):
            block.imports += [Wanted(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            block.imports.append(Wanted(node.lineno, "." * node.level + (node.module or ""), names))
        self._visit(node, block, prefix)

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef, block: Block, prefix: str) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        outside: list[ast.AST] = [*node.decorator_list, *arguments.defaults]
        outside += [one for one in arguments.kw_defaults if one is not None]
        if not self.lazy_annotations:
            outside += [one for one in (node.returns, *(each.annotation for each in every)) if one is not None]
        for one in outside:
            self._take(one, block, prefix)
        if block is self.module:
            block = Block(prefix + node.name, node.lineno)
            self.functions.append(block)
        block.parameters.update(one.arg for one in every)
        self._until_ready(node.body, node.body, block, prefix)

    def _until_ready(self, body: Sequence[ast.stmt], calling: Sequence[ast.stmt], block: Block, prefix: str) -> None:
        """Take the statements of *body*; what those of *calling* call behind ready() does not count."""
        ready = min((one.lineno for part in calling for one in ast.walk(part) if _is_ready(one)), default=0)
        for statement in body:
            if not ready or statement.lineno <= ready or statement not in calling:
                self._take(statement, block, prefix)
                continue
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    block.names.setdefault(node.id, node.lineno)


def _written(func: ast.expr) -> str:
    if isinstance(func, ast.Attribute):
        return f"{func.value.id}.{func.attr}" if isinstance(func.value, ast.Name) else f".{func.attr}"
    return func.id if isinstance(func, ast.Name) else ""


def _is_type_checking(test: ast.AST) -> bool:
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def _is_ready(node: ast.AST) -> TypeGuard[ast.Call]:
    """Say whether *node* is the call ``perf.ready()``."""
    if not isinstance(node, ast.Call) or node.args or node.keywords:
        return False
    func = node.func
    return getattr(func, "attr", "") == "ready" or getattr(func, "id", "") == "ready"


def _exported(tree: ast.Module) -> set[str]:
    """Return the names in ``__all__``, as far as they are written out."""
    found: set[str] = set()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = getattr(node, "value", None)
            found.update(
                one.value
                for one in (ast.walk(value) if value is not None else ())
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )
    return found


# --- all files together -----------------------------------------------------------------------------------------------


class Sources:
    """The files of a program.

    Args:
        places: file and line of every import that was recorded, those of installed packages included.
        entries: files of the program's own that no other of them imported: where the program begins.
        began: nanoseconds since 1970; a file that changed later is not the one that ran.
        folders: further folders where modules are looked for.
        ran: names of functions that are known to have run in the start.
        modules: names of those that were loaded, as far as it was recorded: no file names what a plugin host loads.
    """

    def __init__(
        self,
        places: Iterable[Place],
        entries: Iterable[str],
        began: int,
        folders: Iterable[str] = (),
        ran: Iterable[str] = (),
        modules: Iterable[str] = (),
    ) -> None:
        self.began = began
        self.entries = [path for path in dict.fromkeys(entries) if is_own(path)]
        self._files: dict[str, Source | None] = {}
        self._wanted: dict[str, list[Wanted]] = {}
        self._found: dict[str, str] = {}
        self._folders = list(dict.fromkeys([*filter(None, map(_root_of, (path for path, _ in places))), *folders]))
        loaded = self.loaded_without("", (0, 0))
        files = [*self.entries, *map(self.path_of, [*loaded, *modules])]
        own = [path for path in dict.fromkeys(files) if is_own(path)]
        self.own = [source for source in map(self.source, own) if source is not None]
        self._reached = self._reach(name.rpartition(".")[2] for name in ran)

    def source(self, path: str) -> Source | None:
        """Return the file *path* of the program's own, None if it is gone, has changed, or cannot be parsed."""
        if path not in self._files:
            text = self._text(path)
            try:
                self._files[path] = None if text is None else Source(path, text)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._files[path] = None
        return self._files[path]

    def _text(self, path: str) -> str | None:
        try:
            status = os.stat(path)
            if not S_ISREG(status.st_mode) or status.st_size > MAX_SIZE or status.st_mtime_ns > self.began:
                return None
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except (OSError, ValueError):
            return None

    # --- who uses it ---

    def use_of(self, file: str, line: int, module: str) -> Use | None:
        """Say who uses the names that the statement at *line* of *file* binds by importing *module*.

        None where the file does not say: it changed, the statement is not there, takes ``*``, or depends on something.
        """
        source = self.source(file)
        if source is None:
            return None
        for node in source.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom) and node.lineno <= line <= (node.end_lineno or 0):
                bound = _bound(node, module)
                statement = (node.lineno, node.end_lineno or node.lineno)
                return None if bound is None else self._use(source, bound, statement)
        around = [one for one in ast.walk(source.tree) if isinstance(one, DEFINITIONS)]
        names = [one.name for one in around if one.lineno < line <= (one.end_lineno or 0)]
        return Use("function", tuple(names[-1:])) if names else None

    def _use(self, source: Source, names: set[str], statement: tuple[int, int]) -> Use:
        used = [line for name, line in source.module.names.items() if name in names]
        if used:
            return Use("loading", (), min(used), statement)
        if names & source.exported:
            return Use("loading", (), 0, statement)
        users = [block for block in source.functions if names & (block.names.keys() - block.parameters)]
        if not users:
            # the names of a package's __init__.py are there for others
            state = "loading" if os.path.basename(source.path) == "__init__.py" else "nobody"
            return Use(state, (), 0, statement)
        early = [block.name for block in users if self._is_reached(block)]
        if early:
            return Use("starting", tuple(early), 0, statement)
        return Use("later", tuple(block.name for block in users), 0, statement)

    def _is_reached(self, block: Block) -> bool:
        owner, _, name = block.name.rpartition(".")
        return name in self._reached or (name in AT_ONCE and owner.rpartition(".")[2] in self._reached)

    def _reach(self, names: Iterable[str]) -> set[str]:
        """Return the names of what the code of all modules calls, and what that calls in turn."""
        reached: set[str] = set(names)
        waiting = [block for source in self.own for block in [source.module]]
        functions = [block for source in self.own for block in source.functions]
        self._reached = reached
        while waiting:
            for block in waiting:
                reached |= block.calls
            waiting = [block for block in functions if self._is_reached(block)]
            functions = [block for block in functions if not self._is_reached(block)]
        return reached

    def calls_of(self, names: Collection[str]) -> list[tuple[str, int, str]]:
        """Return file, line and function of the calls of *names* in what the start loads and may call."""
        return [
            (source.path, line, block.name)
            for source in self.own
            for block in source.blocks()
            if block is source.module or self._is_reached(block)
            for name, line in block.made
            if name in names
        ]

    # --- what is loaded ---

    def loaded_without(self, file: str, statement: tuple[int, int]) -> dict[str, str]:
        """Return the modules that the program's files load without what stands at *statement* in *file*.

        Returns: by module, the file that imports it.
        """
        loaded: dict[str, str] = {}
        waiting: list[tuple[str, str]] = [(_module_of(path), path) for path in self.entries]
        seen: set[str] = set()
        while waiting and len(seen) < MAX_FILES:
            module, path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            for wanted in self._imports(path):
                if path == file and statement[0] <= wanted.line <= statement[1]:
                    continue
                for name, is_module in _absolute(wanted, module, path):
                    if name in loaded:
                        continue
                    found = self.path_of(name)
                    if found or is_module:
                        loaded[name] = path
                    if found:
                        waiting.append((name, found))
        return loaded

    def _imports(self, path: str) -> list[Wanted]:
        """Return what the file *path* imports when it is loaded; of the program's own, also its early functions."""
        if path not in self._wanted:
            source = self.source(path) if is_own(path) else None
            if source is not None:
                self._wanted[path] = source.module.imports
            else:
                self._wanted[path] = list(_scanned(self._text(path) or ""))
        found = self._wanted[path]
        source = self._files.get(path)
        if source is None or not hasattr(self, "_reached"):
            return found
        return found + [one for block in source.functions if self._is_reached(block) for one in block.imports]

    def path_of(self, module: str) -> str:
        """Return the file of *module*, empty if it is built in, compiled, or not found."""
        if not module.replace(".", "_").isidentifier():  # it becomes part of a path
            return ""
        if module not in self._found:
            tail = module.replace(".", os.sep)
            candidates = (
                os.path.join(folder, tail + end) for folder in self._folders for end in (os.sep + "__init__.py", ".py")
            )
            self._found[module] = next((path for path in candidates if os.path.isfile(path)), "")
        return self._found[module]


def _bound(node: ast.Import | ast.ImportFrom, module: str) -> set[str] | None:
    """Return the names that *node* binds by importing *module*; None if it does not, or nobody can say."""
    if isinstance(node, ast.Import):
        found = {
            alias.asname or alias.name.partition(".")[0]
            for alias in node.names
            if alias.name == module or alias.name.startswith(f"{module}.")
        }
        return found or None
    if any(alias.name == "*" for alias in node.names):
        return None
    package = node.module or ""
    single = {
        alias.asname or alias.name
        for alias in node.names
        if module.endswith(f".{package}.{alias.name}" if package else f".{alias.name}")
        or module == f"{package}.{alias.name}"
    }
    if single:
        return single
    whole = module == package or package.startswith(f"{module}.") or (node.level and module.endswith(f".{package}"))
    return {alias.asname or alias.name for alias in node.names} if whole else None


def _absolute(wanted: Wanted, module: str, path: str) -> Iterator[tuple[str, bool]]:
    """Yield the full names of what *wanted*, in the file *path* of *module*, loads, and whether each is a module.

    Packages come before what is in them; a name that is taken from a module may be one or not.
    """
    name = wanted.module
    if name.startswith("."):
        dots = len(name) - len(name.lstrip("."))
        parts = module.split(".")
        package = parts if os.path.basename(path) == "__init__.py" else parts[:-1]
        package = package[: len(package) - dots + 1]
        if not package:
            return
        name = ".".join([*package, *filter(None, [name.lstrip(".")])])
    pieces = name.split(".")
    for length in range(1, len(pieces) + 1):
        yield ".".join(pieces[:length]), True
    for each in wanted.names:
        if each != "*":
            yield f"{name}.{each}", False


_IMPORT = re.compile(
    r"^(?:(?P<head>(?:try|except|else|finally|if|elif|with|def|class|async|for|while)\b[^\n]*)"
    r"|(?P<indent>[ \t]*)(?:import[ \t]+(?P<plain>[^#\n;]+)"
    r"|from[ \t]+(?P<module>\.*[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^#\n;]+)))",
    re.MULTILINE,
)


def _scanned(text: str) -> Iterator[Wanted]:
    """Yield the imports that run when a file of *text* is loaded, by its lines: parsing takes 20 times as long."""
    guarded = False
    for match in _IMPORT.finditer(text.replace("\\\n", "  ")):
        head = match["head"]
        if head is not None:
            guarded = not head.startswith(("def", "class", "async")) and "TYPE_CHECKING" not in head
            continue
        if match["indent"] and not guarded:
            continue
        if match["plain"] is not None:
            for part in match["plain"].split(","):
                name = part.split(" as ")[0].strip()
                if name.replace(".", "_").isidentifier():
                    yield Wanted(0, name)
        else:
            names = re.sub(r"#[^\n]*", "", match["names"]).strip("() \t\n").split(",")
            yield Wanted(0, match["module"], tuple(filter(None, (one.split(" as ")[0].strip() for one in names))))


def _module_of(path: str) -> str:
    """Return the full name of the module in the file *path*."""
    root = _root_of(path)
    name = path[len(root) + 1 :] if root else os.path.basename(path)
    return name.removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")


def shown(file: str, line: int) -> str:
    """Return file and line as a person writes them: below the working directory or below where modules are found."""
    folder = "" if is_own(file) else _root_of(file)
    return location(file.removeprefix(folder + file[len(folder) : len(folder) + 1]) if folder else file, line)


def _root_of(path: str) -> str:
    """Return the folder from which the module in the file *path* is imported, empty if unknown."""
    plain = path.replace("\\", "/")
    for mark in ("/site-packages/", "/dist-packages/"):
        if mark in plain:
            return path[: plain.rindex(mark) + len(mark) - 1]
    found = re.match(r".*/lib(?:64)?/python3\.\d+(?=/)", plain)
    if found:
        return path[: found.end()]
    if not is_own(path) or not os.path.isabs(path):
        return ""
    folder = os.path.dirname(path)
    while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder
