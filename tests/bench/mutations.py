"""Mutations that a hostile writer could make: of the JSON and the sections of an `.alula` file, its checksums repaired, and of ONNX.

Each takes a generator, so a seed and a number tell the file.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from alula.runtime.graph import DTYPES
from alula.runtime.ops.contract import REGISTRY
from tests.runtime.artifact.samples import parts, sections, signed

Generator = np.random.Generator
NUMBERS: list[Any] = [
    -1, 0, 1, 2, 3, 7, -2, 64, 255, 256, 65536, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63), 2**64, 10**30,
    0.0, -0.0, 0.5, -1.5, 1e-300, 1e30, 1e308, True, False,
]  # fmt: skip
WORDS: list[Any] = [
    "", " ", "x", "y", "|body", "y|body", "nan", "inf", "-inf", "Relu", "NOTSET", "SAME_UPPER", "reverse", "linear", "cubic", "int64",
    "float32", "mean", "none", "\x00", "a\nb", "\x1b[2J", "\u202e", "\ud7ff", "\U0001f600" * 300, "n" * 1024, "n" * 1025, "ß", "%s{}",
]  # fmt: skip
OTHERS: list[Any] = [None, [], {}, [[]], [0], [1, 2, 3], [-1] * 8, [2**40] * 4, {"a": 1}, ["x"], [""], [None]]
NESTED = "[" * 3000 + "]" * 3000
RAW = ["NaN", "-Infinity", "1e999", "1" * 5000, NESTED, '"\\ud800"', "{}", '{"a":1,"a":2}', "null", "-"]
MAX_ELEMENTS = 1 << 16  # of a section that is made anew


@dataclass
class Content:
    """A file on its way: the JSON value, the sections, and texts that replace marks in the JSON at the end."""

    document: dict[str, Any]
    payloads: list[bytes]
    raw: dict[str, str]

    def graph(self, generator: Generator) -> dict[str, Any]:
        graph: dict[str, Any] = pick(self.document["graphs"], generator)
        return graph


def pick(items: Any, generator: Generator) -> Any:
    """One of them."""
    items = list(items)
    return items[int(generator.integers(len(items)))]


def odd(generator: Generator) -> Any:
    """A value that is rarely right."""
    return copy.deepcopy(pick(pick((NUMBERS, NUMBERS, WORDS, OTHERS), generator), generator))


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value within."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from slots(value[key])


def nodes_of(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """All nodes, those of epilogues too."""
    return [node for host in graph["nodes"] for node in (host, *host.get("fused", []))]


def names_of(graph: dict[str, Any]) -> list[str]:
    """All tensors."""
    made = [name for node in nodes_of(graph) for name in node["outputs"]]
    bodies = [f"{node['outputs'][0]}|body" for node in graph["nodes"] if node.get("fused")]
    return ["", *graph["constants"], *(entry["name"] for entry in graph["inputs"]), *made, *bodies]


def any_value(content: Content, generator: Generator) -> None:
    holder, key = pick(slots(content.document), generator)
    holder[key] = odd(generator)


def any_raw(content: Content, generator: Generator) -> None:
    holder, key = pick(slots(content.document["graphs"]), generator)
    mark = f"mark{len(content.raw)}"
    holder[key] = mark
    content.raw[f'"{mark}"'] = pick(RAW, generator)


def any_order(content: Content, generator: Generator) -> None:
    """Shuffle, drop or repeat what stands in a list."""
    lists = [holder[key] for holder, key in slots(content.document) if isinstance(holder[key], list) and holder[key]]
    chosen = pick(lists, generator)
    kind = generator.integers(4)
    if kind == 0:
        generator.shuffle(chosen)
    elif kind == 1:
        del chosen[int(generator.integers(len(chosen)))]
    elif kind == 2:
        chosen.insert(int(generator.integers(len(chosen) + 1)), copy.deepcopy(pick(chosen, generator)))
    else:
        chosen.reverse()


def any_key(content: Content, generator: Generator) -> None:
    """Drop, add or rename a key."""
    holders = [content.document, *(h[k] for h, k in slots(content.document) if isinstance(h[k], dict) and h[k])]
    chosen = pick(holders, generator)
    key = pick(chosen, generator)
    value = chosen[key] if generator.random() < 0.3 else chosen.pop(key)
    if generator.random() < 0.6:
        chosen[str(odd(generator))] = value


def swap_names(content: Content, generator: Generator) -> None:
    """Let a node read or write another tensor, or exchange two."""
    graph = content.graph(generator)
    lists = [node[key] for node in nodes_of(graph) for key in ("inputs", "outputs", "otherwise") if node.get(key)]
    first, second = pick([*lists, graph["outputs"]], generator), pick(lists, generator)
    i, j = int(generator.integers(len(first))), int(generator.integers(len(second)))
    if generator.random() < 0.5:
        first[i] = pick(names_of(graph), generator)
    else:
        first[i], second[j] = second[j], first[i]


def rename(content: Content, generator: Generator) -> None:
    """Give a tensor another name everywhere."""
    graph = content.graph(generator)
    old, new = pick(names_of(graph), generator), pick([*WORDS, *names_of(graph)], generator)
    for holder, key in list(slots(graph)):
        if holder[key] == old:
            holder[key] = new
    if old in graph["constants"]:
        graph["constants"][new] = graph["constants"].pop(old)


def change_op(content: Content, generator: Generator) -> None:
    node = pick(nodes_of(content.graph(generator)), generator)
    fits = [op.name for op in REGISTRY.ours().values() if op.n_inputs[0] <= len(node["inputs"]) <= op.n_inputs[1]]
    node["op"] = pick(fits if fits and generator.random() < 0.8 else REGISTRY.ours(), generator)
    if generator.random() < 0.6:
        node.pop("attrs", None)


def change_attributes(content: Content, generator: Generator) -> None:
    graph = content.graph(generator)
    node = pick(nodes_of(graph), generator)
    attrs = node.setdefault("attrs", {})
    known = REGISTRY[node["op"]].attrs.__dataclass_fields__ if node["op"] in REGISTRY else {}
    name = pick([*known, *attrs, "unknown"], generator)
    old = attrs.get(name)
    kind = generator.integers(5)
    if kind == 0 and isinstance(old, list) and old:
        old[int(generator.integers(len(old)))] = pick(NUMBERS, generator)
    elif kind == 1 and isinstance(old, list):
        attrs[name] = old + old[:1] if generator.random() < 0.5 else old[1:]
    elif kind == 2 and isinstance(old, int):
        attrs[name] = old + int(generator.integers(-3, 4))
    elif kind == 3:
        node["attrs"] = copy.deepcopy(pick(nodes_of(graph), generator).get("attrs", {}))
    else:
        attrs[name] = odd(generator) if generator.random() < 0.7 else [int(n) for n in generator.integers(-2, 9, 4)]


def change_epilogue(content: Content, generator: Generator) -> None:
    """Move, add, drop or reorder the stages of an epilogue."""
    graph = content.graph(generator)
    host, other = pick(graph["nodes"], generator), pick(graph["nodes"], generator)
    kind = generator.integers(5)
    if kind == 0:
        host["fused"], other["fused"] = other.get("fused", []), host.get("fused", [])
    elif kind == 1 and host.get("fused"):
        generator.shuffle(host["fused"])
    elif kind == 2 and host.get("fused"):
        del host["fused"][int(generator.integers(len(host["fused"])))]
    elif kind == 3:  # a whole one, of a node of the graph
        host["fused"] = [{**copy.deepcopy(other), "inputs": [f"{host['outputs'][0]}|body", *other["inputs"][1:]]}]
        host["fused"][0].pop("fused", None)
        host["fused"][0]["outputs"] = host["outputs"][:1]
    else:  # of any element-wise op
        op = pick([op for op in REGISTRY.ours().values() if op.elementwise], generator)
        before = f"{host['outputs'][0]}|body" if not host.get("fused") else host["fused"][-1]["outputs"][0] + "?"
        inputs = [before, *(pick(names_of(graph), generator) for _ in range(op.n_inputs[0] - 1))]
        stages = host.setdefault("fused", [])
        if stages:
            stages[-1]["outputs"] = [before]
        if generator.random() < 0.3:
            generator.shuffle(inputs)
        stages.append({"op": op.name, "inputs": inputs, "outputs": host["outputs"][:1]})


def change_guard(content: Content, generator: Generator) -> None:
    graph = content.graph(generator)
    flags = [entry["name"] for entry in graph["inputs"] if entry["dtype"] == "int64"]
    if not flags and generator.random() < 0.8:
        graph["inputs"].append({"name": "flag", "dtype": "int64", "shape": pick(([], [1], [2], ["n"]), generator)})
        flags = ["flag"]
    for _ in range(int(generator.integers(1, 4))):
        node = pick(graph["nodes"], generator)
        node["guard"] = pick([*flags, *flags, *names_of(graph)], generator)
        if generator.random() < 0.8:
            known = [*node["inputs"], *names_of(graph)[:8], pick(names_of(graph), generator)]
            node["otherwise"] = [pick(known, generator) for _ in node["outputs"]]


def change_tensor(content: Content, generator: Generator) -> None:
    """Another shape, dtype or encoding of a constant; in most cases with a section that fits."""
    index = int(generator.integers(len(content.payloads)))
    entry = content.document["tensors"][index]
    kind = generator.integers(4)
    if kind == 0:
        entry[pick(entry, generator)] = odd(generator)
        return
    shape = list(entry["shape"])
    if kind == 1:
        generator.shuffle(shape)
    elif kind == 2:
        shape = [int(n) for n in generator.integers(0, 9, int(generator.integers(0, 6)))]
    elif shape:
        shape[int(generator.integers(len(shape)))] = pick([n for n in NUMBERS if isinstance(n, int)], generator)
    dtype = pick(DTYPES, generator) if generator.random() < 0.4 else entry["dtype"]
    entry["shape"] = shape
    size = int(np.prod([float(n) for n in shape]))
    if 0 <= size <= MAX_ELEMENTS:
        values = (
            generator.normal(size=size) * 50
            if dtype in ("float16", "float32", "float64")
            else generator.integers(0, 2, size)
        )
        content.payloads[index] = values.astype(dtype).tobytes()
        fresh = {"coding": "plain", "crc32": 0, "dtype": dtype, "encoding": "raw", "shape": shape}
        content.document["tensors"][index] = fresh | {"size": len(content.payloads[index])}


def change_payload(content: Content, generator: Generator) -> None:
    """Other values in a section: single bytes, not-a-numbers, huge or negative integers."""
    index = int(generator.integers(len(content.payloads)))
    entry, payload = content.document["tensors"][index], bytearray(content.payloads[index])
    if (
        entry["dtype"] in ("int64", "int32", "float32")
        and entry["encoding"] == "raw"
        and len(payload)
        and entry["coding"] == "plain"
    ):
        values = np.frombuffer(bytes(payload), entry["dtype"]).copy()
        odds = (
            [np.nan, np.inf, -np.inf, 1e38, -0.0, 1e-45]
            if entry["dtype"] == "float32"
            else [-1, 0, -9, 5, 2**31 - 1, 1 << 20]
        )
        if entry["dtype"] == "int64":
            odds += [2**63 - 1, -(2**63), 2**40]
        for place in generator.integers(0, len(values), int(generator.integers(1, 4))):
            values[place] = pick(odds, generator)
        payload = bytearray(values.tobytes())
    for _ in range(int(generator.integers(0, 4)) if payload else 0):
        payload[int(generator.integers(len(payload)))] = int(generator.integers(256))
    content.payloads[index] = bytes(payload)


def share_constants(content: Content, generator: Generator) -> None:
    """Let two constants be each other's tensors."""
    constants = content.graph(generator)["constants"]
    if constants:
        first, second = pick(constants, generator), pick(constants, generator)
        constants[first], constants[second] = constants[second], constants[first]


def change_inputs(content: Content, generator: Generator) -> None:
    """Other shapes, dtypes or an order of the graph's inputs; constants that become inputs."""
    graph = content.graph(generator)
    entry = pick(graph["inputs"], generator) if graph["inputs"] else {"name": "x", "dtype": "float32", "shape": []}
    kind = generator.integers(4)
    if kind == 0 and entry["shape"]:
        entry["shape"][int(generator.integers(len(entry["shape"])))] = pick(
            [0, 1, 5, 2**20, 2**31 - 1, "batch", "n"], generator
        )
    elif kind == 1:
        entry["shape"] = [pick([1, 2, 8, "batch", "n"], generator) for _ in range(int(generator.integers(0, 9)))]
    elif kind == 2:
        entry["dtype"] = pick(DTYPES, generator)
    elif graph["constants"]:
        name = pick(graph["constants"], generator)
        tensor = content.document["tensors"][graph["constants"].pop(name)]
        graph["inputs"].append({"name": name, "dtype": tensor["dtype"], "shape": tensor["shape"]})


def change_metadata(content: Content, generator: Generator) -> None:
    metadata = content.document["metadata"]
    metadata[pick(("trainable", "labels", "task", "preprocessing"), generator)] = pick(
        (True, False, odd(generator)), generator
    )


CHANGES: tuple[Callable[[Content, Generator], None], ...] = (
    any_value, any_raw, any_order, any_key, swap_names, swap_names, rename, change_op, change_attributes, change_attributes,
    change_epilogue, change_epilogue, change_guard, change_tensor, change_tensor, change_payload, share_constants, change_inputs,
    change_metadata,
)  # fmt: skip


def mutated_file(base: bytes, generator: Generator) -> tuple[bytes, str]:
    """A file with one to three mutations and right checksums, and what was done."""
    content = Content(parts(base)[0], sections(base), {})
    done = []
    for _ in range(int(generator.choice([1, 1, 1, 2, 3]))):
        change = pick(CHANGES, generator)
        try:
            change(content, generator)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
            pass  # an earlier one left nothing to work on
        done.append(change.__name__)
    entries = content.document.get("tensors")
    used = content.payloads[: len(entries)] if isinstance(entries, list) else content.payloads
    signed(content.document, used)  # puts the checksums into the JSON
    header = json.dumps(content.document)
    for mark, text in content.raw.items():
        header = header.replace(mark, text)
    return signed(header.encode(), used), " ".join(done)


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all within."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _messages(inner)


def mutated_model(model: onnx.ModelProto, generator: Generator) -> tuple[bytes, str]:
    """An ONNX model with one to three fields changed, or (one in eight) with bytes changed, and what was done."""
    model = copy.deepcopy(model)
    done = []
    for _ in range(int(generator.choice([1, 1, 2, 3]))):
        message = pick(_messages(model), generator)
        fields = message.ListFields()
        if not fields:
            continue
        field, value = pick(fields, generator)
        done.append(f"{message.DESCRIPTOR.name}.{field.name}")
        if field.is_repeated:
            _change_repeated(message, field, value, generator)
        elif field.message_type is not None or generator.random() < 0.2:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, _other(field, value, generator))
    data = bytearray(model.SerializeToString())
    if generator.random() < 0.125:
        done.append("bytes")
        for _ in range(int(generator.integers(1, 5))):
            data[int(generator.integers(len(data)))] = int(generator.integers(256))
    return bytes(data), " ".join(done)


def _change_repeated(message: Any, field: Any, value: Any, generator: Generator) -> None:
    items = [copy.deepcopy(item) for item in value]
    kind = generator.integers(4)
    index = int(generator.integers(len(items)))
    if kind == 0:
        del items[index]
    elif kind == 1:
        items.insert(int(generator.integers(len(items) + 1)), copy.deepcopy(items[index]))
    elif kind == 2 or field.message_type is not None:
        order = generator.permutation(len(items))
        items = [items[place] for place in order]
    else:
        items[index] = _other(field, items[index], generator)
    message.ClearField(field.name)
    getattr(message, field.name).extend(items)


def _other(field: Any, value: Any, generator: Generator) -> Any:
    """Another value that the field can hold."""
    if field.cpp_type == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            changed = bytearray(value)
            for _ in range(int(generator.integers(1, 5)) if changed else 0):
                changed[int(generator.integers(len(changed)))] = int(generator.integers(256))
            return bytes(changed) if generator.random() < 0.7 else bytes(changed[: len(changed) // 2])
        return pick([word for word in WORDS if isinstance(word, str)], generator)
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return pick([0.0, -1.0, float("nan"), float("inf"), 1e38, 1e-45], generator)
    if field.cpp_type == field.CPPTYPE_ENUM:
        return int(pick(field.enum_type.values_by_number, generator))
    small = [-1, 0, 1, 2, 3, 7, 16, 2**31 - 1]
    return int(
        pick(small if field.cpp_type in (field.CPPTYPE_INT32,) else [*small, 2**40, 2**63 - 1, -(2**63)], generator)
    )
