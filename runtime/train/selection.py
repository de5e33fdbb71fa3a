"""Which parameters a training step updates: rules by name.

    all, bias, norm, last:2, stem.*, fc.weight        several at once: bias,last:1
    stem.*:0.25, last:2:0.5                           only the weights of some input channels

The rest of the network is frozen: its gradients are not computed, and nothing is kept for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from alula.runtime.errors import GraphError
from alula.runtime.graph import Graph, Node
from alula.runtime.ops.traits import BIAS, SHIFT
from alula.runtime.train.parameters import contract, held, is_layer

MANY = 12  # names that a message lists

Readers = Mapping[str, Sequence[Node]]
Rule = Callable[[Graph, Readers], list[str]]


def select(
    graph: Graph, parameters: Readers, update: str | Sequence[str], buffers: Readers | None = None
) -> dict[str, float]:
    """The parameters that an update rule names, in the order of the forward pass, then the buffers; which part of each is trained.

    graph      : in trainable form
    parameters : every parameter with the nodes that read it
    buffers    : other constants, which are trained only if a rule is their name, or a pattern that fits no parameter
    update     : rules, a comma between them or in a sequence: `all`; `bias` (of layers and normalisations); `norm`
                 (scale and bias of normalisations); `last:k` (the last k layers with weights and all after the first
                 of them); else the name of a parameter or layer, or a pattern of it with * and ?; a number from 0 to 1 after
                 any of them, as in `stem.*:0.25`, is the part of the input channels whose weights are trained
    raise      : GraphError if a rule is unknown or matches nothing
    """
    rules = [part.strip() for part in update.split(",")] if isinstance(update, str) else list(update)
    if not any(rules):
        raise GraphError(f"update: expected rules such as all, bias, norm, last:1 or a layer of {graph.name}, got none")
    chosen: dict[str, float] = {}
    for rule in rules:
        word, fraction = _fraction(rule)
        for name in _matches(graph, parameters, buffers or {}, word):
            chosen[name] = max(fraction, chosen.get(name, 0.0))
    return {name: chosen[name] for name in (*parameters, *(buffers or ())) if name in chosen}


def _fraction(rule: str) -> tuple[str, float]:
    """A rule without its fraction, and that; 1 if it has none. Names may have colons, too: a fraction has a point."""
    word, _, number = rule.rpartition(":")
    if word in ("", "last", "auto") or "." not in number:
        return rule, 1.0
    try:
        fraction = float(number)
    except ValueError:
        return rule, 1.0
    if not 0 < fraction <= 1:
        raise GraphError(f"update: expected a part of the channels above 0 and up to 1, got {rule!r}; {word}:0.25, say")
    return word, fraction


def _matches(graph: Graph, parameters: Readers, buffers: Readers, rule: str) -> list[str]:
    word, _, number = rule.partition(":")
    if word == "auto":
        raise GraphError(
            f"update: expected rules, got {rule!r}, which needs data; call choose_update, or alula train --update {rule}"
        )
    if word == "last":
        found = _last(graph, parameters, number)
    elif rule in RULES:
        found = RULES[rule](graph, parameters)
    else:
        found = [
            name for name, readers in parameters.items()
            if any(_fits(text, rule) for text in (name, *(node.name for node in readers)) if text)
        ]  # fmt: skip
        found += [name for name in buffers if name == rule or not found and fnmatchcase(name, rule)]
    if not found:
        names = list(parameters)
        listed = ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")
        raise GraphError(
            f"update: expected a rule that matches parameters of {graph.name}, got {rule!r}; "
            f"take {', '.join(RULES)}, last:k or names among {listed}"
            + (f", or of buffers: {', '.join(list(buffers)[:MANY])}" if buffers else "")
        )
    return found


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")


def _last(graph: Graph, parameters: Readers, number: str) -> list[str]:
    reading = {id(node) for readers in parameters.values() for node in readers}
    weighted = [i for i, node in enumerate(graph.nodes) if is_layer(node) and id(node) in reading]
    if not (number.isascii() and number.isdigit()) or not 1 <= int(number) <= len(weighted):
        raise GraphError(f"update: expected last:1 to last:{len(weighted)} in {graph.name}, got 'last:{number}'")
    late = {id(node) for node in graph.nodes[weighted[-int(number)] :]}
    return [name for name, readers in parameters.items() if all(id(node) in late for node in readers)]


def _bias(graph: Graph, parameters: Readers) -> list[str]:
    return [
        name for name, readers in parameters.items()
        if any(node.op == "Add" or name in held(node, BIAS, SHIFT) for node in readers)
    ]  # fmt: skip


def _norm(graph: Graph, parameters: Readers) -> list[str]:
    return [name for name, readers in parameters.items() if any(contract(node).normalizes for node in readers)]


RULES: dict[str, Rule] = {"all": lambda graph, parameters: list(parameters), "bias": _bias, "norm": _norm}
