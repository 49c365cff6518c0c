"""What a compiled program does, read off its text: kernels launched, bytes moved, loops that nobody can count.

Launches are multiplied by the trip counts that XLA knows. A kernel moves what it writes and what it reads; of a gather
or a slice that is what comes out of it, not the table behind it. Kernels of a library, such as cuSOLVER's, count as one
launch each, which reads its operands once and writes its results once.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator

_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16}
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_NO_KERNEL = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "call"}
_NO_KERNEL |= {"while", "conditional", "partition-id", "replica-id", "iota"}
_VIEWS = {"bitcast", "reshape", "copy", "get-tuple-element"}
_READ_IN_PARTS = {"gather", "dynamic-slice", "slice"}
_WRITTEN_IN_PARTS = {"dynamic-update-slice": 1, "scatter": 2}  # and which operand holds the part


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @property
    def size(self) -> float:
        """Bytes of the result."""
        return size_of(self.shape)

    def called(self, attribute: str) -> str | None:
        """Return the name of a computation that the instruction calls."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.attributes)
        return found and found.group(1)


@dataclasses.dataclass
class Costs:
    """What a program does.

    Attributes:
        launches: Kernels.
        bytes: What they read and write.
        steps: Of loops, nested ones multiplied.
        unknown_loops: Loops whose trips XLA does not know.
        conditionals: Branches, of which all are counted.
        by_kernel: Launches and bytes by kind of kernel.
    """

    launches: float = 0
    bytes: float = 0
    steps: float = 0
    unknown_loops: int = 0
    conditionals: int = 0
    by_kernel: dict[str, list[float]] = dataclasses.field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))


def size_of(shape: str) -> float:
    """Return the bytes of all arrays in the text of a shape."""
    total = 0.0
    for kind, dimensions in _ARRAY.findall(shape):
        size = _BYTES.get(kind, 0)
        for dimension in filter(None, dimensions.split(",")):
            size *= int(dimension)
        total += size
    return total


def parse(text: str) -> tuple[dict[str, dict[str, Instruction]], str]:
    """Return the computations of a program by name, and the name of the first one to run."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" ") and "=" not in line.split("(")[0]:
            name = line.removeprefix("ENTRY").strip().split()[0].split("(")[0].lstrip("%")
            if not name or line.startswith("HloModule"):
                continue
            current = computations.setdefault(name, {})
            entry = name if line.startswith("ENTRY") else entry
        elif current is not None and " = " in line and (one := _instruction(line)):
            current[one.name] = one
    return computations, entry


def _instruction(line: str) -> Instruction | None:
    left, right = line.split(" = ", 1)
    is_root, name = left.strip().startswith("ROOT"), left.split()[-1].lstrip("%")
    end = _closing(right, 0) if right.startswith("(") else right.index(" ") - 1
    shape, rest = right[: end + 1], right[end + 1 :].strip()
    found = re.match(r"([a-z][\w\-]*)\(", rest)
    if found is None:
        return None
    end = _closing(rest, found.end() - 1)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[found.end() : end]))
    if not operands:
        operands = tuple(word.split()[-1] for word in rest[found.end() : end].split(", ") if word.split())
    if found.group(1) == "parameter":
        operands = (rest[found.end() : end],)
    return Instruction(name, shape, found.group(1), operands, rest[end + 1 :], is_root)


def _closing(text: str, start: int) -> int:
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return len(text) - 1


def costs(text: str, trips: int = 1) -> Costs:
    """Count what a program does, with so many trips of each loop whose trips XLA does not know."""
    computations, entry = parse(text)
    total = Costs()

    def walk(name: str, times: float) -> None:
        body = computations[name]
        for one in body.values():
            if one.opcode == "while":
                known = re.search(r'known_trip_count":?=?\{"?n"?:"?(\d+)', one.attributes)
                total.unknown_loops += known is None
                n = int(known.group(1)) if known else trips
                total.steps += times * n
                walk(one.called("body") or "", times * n)
            elif one.opcode == "conditional":
                total.conditionals += 1
                branches = re.search(r"branch_computations=\{([^}]*)\}", one.attributes)
                names = branches.group(1).split(",") if branches else []
                names += [one.called(which) for which in ("true_computation", "false_computation")]
                for branch in filter(None, names):
                    walk(branch.strip().lstrip("%"), times)
            elif one.opcode in ("call", "async-start") and (called := one.called("to_apply") or one.called("calls")):
                walk(called, times)
            elif one.opcode not in _NO_KERNEL and not one.opcode.endswith(("-done", "-update")):
                moved = _moved(one, body, computations)
                total.launches += times
                total.bytes += times * moved
                kind = total.by_kernel[_kind(one, computations)]
                kind[0], kind[1] = kind[0] + times, kind[1] + times * moved

    walk(entry, 1)
    return total


def _kind(one: Instruction, computations: dict) -> str:
    """Name a kernel by what it computes, as the program that was traced calls it."""
    target = re.search(r'custom_call_target="([^"]+)"', one.attributes)
    traced = re.search(r'op_name="([^"]+)"', one.attributes)
    path = [part for part in traced.group(1).split("/") if "(" not in part or part.startswith("jit")] if traced else []
    return " ".join(filter(None, [target.group(1) if target else one.opcode, "/".join(path[-2:])]))


def _moved(one: Instruction, body: dict[str, Instruction], computations: dict) -> float:
    if one.opcode == "fusion" and (called := computations.get(one.called("calls") or "")):
        read = sum(_read(parameter, called) for parameter in called.values() if parameter.opcode == "parameter")
        return read + sum(_written(root, called) for root in called.values() if root.is_root)
    if one.opcode in _READ_IN_PARTS:
        return 2 * one.size
    if one.opcode in _WRITTEN_IN_PARTS:
        return 2 * body[one.operands[_WRITTEN_IN_PARTS[one.opcode]]].size
    return one.size + sum(body[name].size for name in one.operands if name in body)


def _read(source: Instruction, body: dict[str, Instruction]) -> float:
    """Return what a fused kernel reads of one of its parameters."""
    parts = 0.0
    for user, place in _users(source, body):
        if user.opcode in _READ_IN_PARTS and place == 0:
            parts += user.size
        elif user.opcode in _WRITTEN_IN_PARTS and place == 0:
            continue
        else:
            return source.size
    return min(parts, source.size) if parts < source.size else parts


def _users(source: Instruction, body: dict[str, Instruction]) -> Iterator[tuple[Instruction, int]]:
    for user in body.values():
        if user.opcode != "parameter" and source.name in user.operands:
            if user.opcode in _VIEWS:
                yield from _users(user, body)
            else:
                yield user, user.operands.index(source.name)


def _written(root: Instruction, body: dict[str, Instruction]) -> float:
    if root.opcode == "tuple":
        return sum(_written(body[name], body) for name in root.operands)
    if root.opcode in ("bitcast", "copy") and root.operands[0] in body and body[root.operands[0]].opcode != "parameter":
        return _written(body[root.operands[0]], body)
    if root.opcode == "dynamic-update-slice":
        return body[root.operands[1]].size
    if root.opcode == "scatter":
        return 2 * body[root.operands[2]].size
    return root.size
