"""What compiled code does, whatever file and line it stands on, and which names it asks for. Host side.

Two functions that differ in comments, docstrings, line breaks or places have the same program; it is the same in every
process. Another version of Python, or another level of optimisation, compiles to another one: `COMPILER` names both.
"""

import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

COMPILER = f"{sys.implementation.cache_tag}{'-O' * sys.flags.optimize}"

# What a class body stores for tools: lines, documentation, and in no certain order what its methods assign.
_FOR_TOOLS = ("__doc__", "__firstlineno__", "__static_attributes__")
# These stand where a line begins, or where a number is large.
_FILLERS = ("NOP", "EXTENDED_ARG", "CACHE")
# Methods of lists, dictionaries and sets.
_CHANGE = {"append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault", "add", "discard"}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_OPPOSITE = {"POP_JUMP_IF_TRUE": "POP_JUMP_IF_FALSE", "POP_JUMP_IF_FALSE": "POP_JUMP_IF_TRUE"}
# From Python 3.13 on two steps that begin on one line, and know their names alike, are one instruction.
_PAIRS = {
    f"{one}_{other}": (one, other)
    for one in ("LOAD_FAST", "STORE_FAST", "LOAD_FAST_BORROW")
    for other in ("LOAD_FAST", "STORE_FAST", "LOAD_FAST_BORROW")
}
_KIND = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)


class Import(NamedTuple):
    """An `import` inside a function.

    Attributes:
        module: Its name, with a dot for each level of a relative one.
        names: What is taken out of it; empty for the module itself.
    """

    module: str
    names: tuple[str, ...]


def program(code: types.CodeType) -> list[Any]:
    r"""Return what code does, as JSON can hold it.

    Args:
        code: Of a function, with the functions and classes inside it.

    Returns:
        Its parameters, its instructions with names and constants in the place of numbers, and where errors go.

    Example:
        >>> from jaxals.training.reach.bytecode import program
        >>> one, other = compile("a + 1", "here", "eval"), compile("# there\n\na + 1", "there", "eval")
        >>> program(one) == program(other), program(one) == program(compile("a - 1", "here", "eval"))
        (True, False)
    """
    kept, target_of = _straightened(_kept(code))
    places = {instruction.offset: place for place, (instruction, _) in enumerate(kept)}
    # A jump may lead to what was left out, and an error table speaks of where something ends.
    place_of = functools.partial(_next_place, places=places, end=len(code.co_code))
    steps = [
        [name, place_of(target_of[one.offset]) if one.offset in target_of else _constant(one.argval)]
        for one, name in kept
    ]
    n_parameters = code.co_argcount + code.co_kwonlyargcount
    n_parameters += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    signature = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KIND]
    errors: list[list[int]] = []
    for one in getattr(dis.Bytecode(code), "exception_entries", ()):
        start, *rest = place_of(one.start), place_of(one.end), place_of(one.target), one.depth, int(one.lasti)
        if errors and errors[-1][1] == start and errors[-1][2:] == rest[1:]:
            start, *_ = errors.pop()
        errors.append([start, *rest])
    return [list(code.co_varnames[:n_parameters]), signature, steps, errors]


def _straightened(
    kept: list[dis.Instruction],
) -> tuple[list[tuple[dis.Instruction, str]], dict[int, int]]:
    """Lead jumps to where they end, which Python does by itself within a line alone.

    Returns:
        Instructions with their names, and by their offsets where jumps lead.
    """
    target_of = {one.offset: one.argval for one in kept if one.opcode in _JUMPS}
    always = {one.offset: one.argval for one in kept if one.opname in ("JUMP_FORWARD", "JUMP_BACKWARD")}
    straight: list[tuple[dis.Instruction, str]] = []
    for one, then in zip(kept, [*kept[1:], None], strict=True):
        if one.offset in always and one.offset not in target_of:  # jumped over, and needed no more
            continue
        name, offset = _without_direction(one.opname), one.offset
        if name in _OPPOSITE and then and then.offset in always and not then.is_jump_target:
            after = next((later.offset for later in kept if later.offset > then.offset), None)
            if target_of[offset] == after:  # over a jump: the opposite one leads there at once
                name, target_of[offset] = _OPPOSITE[name], always[then.offset]
                del target_of[then.offset]
        straight.append((one, name))
    for offset, target in target_of.items():
        met = {target}
        while target in always and always[target] not in met:
            target = always[target]
            met.add(target)
        target_of[offset] = target
    return straight, target_of


def _without_direction(name: str) -> str:
    # Python 3.11 has a conditional jump forward and another one back; where it leads tells them apart.
    return name.replace("_FORWARD_IF_", "_IF_").replace("_BACKWARD_IF_", "_IF_")


def globals_read(code: types.CodeType) -> set[str]:
    """Return the global names that code reads."""
    return {one.argval for each in _all(code) for one in _kept(each) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}


def written(code: types.CodeType) -> set[str]:
    """Return the names from outside that code writes, such as a count of its calls or a list of what it has seen.

    Example:
        >>> from jaxals.training.reach.bytecode import written
        >>> sorted(written(compile("seen.append(1); known[1] = 2; count[0] += 1; weights[0]", "here", "exec")))
        ['count', 'known', 'seen']
    """
    names = set()
    for each in _all(code):
        kept = _kept(each)
        names |= {one.argval for one in kept if one.opname in ("STORE_GLOBAL", "STORE_DEREF")}
        for one, then, last in zip(kept, kept[1:], kept[2:], strict=False):
            if one.opname not in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"):
                continue
            is_changed = then.opname in ("LOAD_ATTR", "LOAD_METHOD") and then.argval in _CHANGE
            if is_changed or last.opname in ("STORE_SUBSCR", "DELETE_SUBSCR", "COPY"):
                names.add(one.argval)
    return names


def mentioned(code: types.CodeType) -> set[str]:
    """Return all names that code could ask a module for: attributes, and texts, which `getattr` takes."""
    texts = {text for each in _all(code) for text in each.co_consts if isinstance(text, str)}
    return texts.union(*(each.co_names for each in _all(code)))


def imports(code: types.CodeType) -> list[Import]:
    """Return what code imports when it runs."""
    found = []
    for each in _all(code):
        kept = _kept(each)
        for level, names, one in zip(kept, kept[1:], kept[2:], strict=False):
            if one.opname == "IMPORT_NAME":
                found.append(Import("." * int(level.argval or 0) + one.argval, tuple(names.argval or ())))
    return found


def _all(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all(constant)


def _kept(code: types.CodeType) -> list[dis.Instruction]:
    kept: list[dis.Instruction] = []
    for one in dis.get_instructions(code):
        if one.opname == "STORE_NAME" and one.argval in _FOR_TOOLS:
            kept.pop()
        elif one.opname in _PAIRS:
            for place, (name, argument) in enumerate(zip(_PAIRS[one.opname], one.argval, strict=True)):
                at = one.offset + place
                kept.append(one._replace(opname=name, opcode=dis.opmap[name], argval=argument, offset=at))
        elif one.opname not in _FILLERS:
            kept.append(one)
    return kept


def _next_place(offset: int, places: dict[int, int], end: int) -> int:
    return next((places[at] for at in range(offset, end) if at in places), len(places))


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return program(value)
    if isinstance(value, tuple):
        return ["tuple", *map(_constant, value)]
    if isinstance(value, frozenset):  # in an order of each process
        return ["frozenset", *sorted(map(repr, value))]
    return repr(value)
