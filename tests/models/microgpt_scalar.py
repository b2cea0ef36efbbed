"""The network of microgpt on single numbers: no array, no NumPy, gradients from a graph of scalars.

Parameters are nested lists of floats. A matrix W is a list of its rows, and y = x @ W.

    wte [V][D], wpe [T][D], head [D][V],
    layer0, layer1, ...: qkv [D][3D], out [D][D], up [D][4D], down [4D][D]
"""

import math
from collections.abc import Iterator, Sequence
from operator import mul
from typing import Any

BOUNDARY = 0


class Scalar:
    """A number, the numbers that it was made from, and its slope along each of those."""

    __slots__ = ("grad", "inputs", "slopes", "uses", "value")

    def __init__(
        self,
        value: float,
        inputs: Sequence["Scalar"] = (),
        slopes: Sequence[float] = (),
    ) -> None:
        self.value = value
        self.inputs = inputs
        self.slopes = slopes
        self.grad = 0.0
        self.uses = 0

    def __add__(self, other: "Scalar | float") -> "Scalar":
        if isinstance(other, Scalar):
            return Scalar(self.value + other.value, (self, other), (1.0, 1.0))
        return Scalar(self.value + other, (self,), (1.0,))

    def __mul__(self, other: "Scalar | float") -> "Scalar":
        if isinstance(other, Scalar):
            return Scalar(self.value * other.value, (self, other), (other.value, self.value))
        return Scalar(self.value * other, (self,), (other,))

    def __pow__(self, power: float) -> "Scalar":
        slope = power * self.value ** (power - 1)
        return Scalar(self.value**power, (self,), (slope,))

    def __neg__(self) -> "Scalar":
        return self * -1.0

    def __sub__(self, other: "Scalar | float") -> "Scalar":
        return self + -other

    def __truediv__(self, other: "Scalar | float") -> "Scalar":
        return self * other**-1.0

    def exp(self) -> "Scalar":
        value = math.exp(self.value)
        return Scalar(value, (self,), (value,))

    def log(self) -> "Scalar":
        return Scalar(math.log(self.value), (self,), (1.0 / self.value,))

    def relu(self) -> "Scalar":
        if self.value > 0:
            return Scalar(self.value, (self,), (1.0,))
        return Scalar(0.0, (self,), (0.0,))

    def backward(self) -> None:
        """Add to the grad of every number below this one the slope of this one along it.

        A number hands its gradient on once all its uses have handed theirs to it. The uses are
        counted first, and are all counted down to 0 again at the end.
        """
        ready = [self]
        while ready:
            for below in ready.pop().inputs:
                if not below.uses:
                    ready.append(below)
                below.uses += 1
        self.grad = 1.0
        ready = [self]
        while ready:
            node = ready.pop()
            grad = node.grad
            for below, slope in zip(node.inputs, node.slopes, strict=True):
                below.grad += slope * grad
                below.uses -= 1
                if not below.uses:
                    ready.append(below)


Vector = Sequence[Scalar]
Matrix = Sequence[Vector]


def dot(left: Vector, right: Vector) -> Scalar:
    """One number for the whole sum of products: a node for each product would take longer."""
    left_values = [x.value for x in left]
    right_values = [x.value for x in right]
    value = sum(map(mul, left_values, right_values))
    return Scalar(value, (*left, *right), right_values + left_values)


def total(terms: Vector) -> Scalar:
    return Scalar(sum(x.value for x in terms), terms, (1.0,) * len(terms))


def add(left: Vector, right: Vector) -> list[Scalar]:
    return [x + y for x, y in zip(left, right, strict=True)]


def linear(x: Vector, matrix: Matrix) -> list[Scalar]:
    return [dot(x, column) for column in zip(*matrix, strict=True)]


def rmsnorm(x: Vector) -> list[Scalar]:
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
    return [number * scale for number in x]


def softmax(x: Vector) -> list[Scalar]:
    top = max(number.value for number in x)
    powers = [(number - top).exp() for number in x]
    share = total(powers) ** -1.0
    return [power * share for power in powers]


def attention(query: Vector, keys: Matrix, values: Matrix, heads: int) -> list[Scalar]:
    """The heads of one position, side by side. The keys and the values are those so far."""
    size = len(query) // heads
    mixed = []
    for start in range(0, len(query), size):
        part = slice(start, start + size)
        scores = [dot(query[part], key[part]) / math.sqrt(size) for key in keys]
        weights = softmax(scores)
        mixed += [dot(weights, column) for column in zip(*(v[part] for v in values), strict=True)]
    return mixed


def token_logits(
    net: dict[str, Any], token: int, position: int, caches: Sequence[Any], heads: int
) -> list[Scalar]:
    """Logits after one more token; caches has the keys and the values of each layer so far."""
    x = rmsnorm(add(net["wte"][token], net["wpe"][position]))
    width = len(x)
    for i, (keys, values) in enumerate(caches):
        layer = net[f"layer{i}"]
        qkv = linear(rmsnorm(x), layer["qkv"])
        keys.append(qkv[width : 2 * width])
        values.append(qkv[2 * width :])
        x = add(x, linear(attention(qkv[:width], keys, values, heads), layer["out"]))
        hidden = [number.relu() for number in linear(rmsnorm(x), layer["up"])]
        x = add(x, linear(hidden, layer["down"]))
    return linear(x, net["head"])


def cross_entropy(logits: Vector, target: int) -> Scalar:
    top = max(x.value for x in logits)
    return total([(x - top).exp() for x in logits]).log() + top - logits[target]


def item_loss(net: dict[str, Any], item: Sequence[int], heads: int) -> Scalar:
    caches = [([], []) for name in net if name.startswith("layer")]
    losses = []
    for position, target in enumerate([*item, BOUNDARY]):
        token = item[position - 1] if position else BOUNDARY
        logits = token_logits(net, token, position, caches, heads)
        losses.append(cross_entropy(logits, target))
    return total(losses) / len(losses)


def to_scalars(params: Any) -> Any:
    """The same nest with a Scalar for each float."""
    if isinstance(params, dict):
        return {name: to_scalars(part) for name, part in params.items()}
    return [[Scalar(value) for value in row] for row in params]


def rows(params: Any) -> Iterator[list[Any]]:
    """The rows of all matrices, in one order for parameters of one layout."""
    for part in params.values():
        if isinstance(part, dict):
            yield from rows(part)
        else:
            yield from part


def loss(params: dict[str, Any], item: Sequence[int], heads: int) -> float:
    """Mean of -log p over the letters of an item and the boundary after it."""
    return item_loss(to_scalars(params), item, heads).value


def gradients(params: dict[str, Any], item: Sequence[int], heads: int) -> dict[str, Any]:
    """The gradient of the loss, in the layout of params."""
    net = to_scalars(params)
    item_loss(net, item, heads).backward()
    return _read(net, "grad")


def _read(net: Any, slot: str) -> Any:
    if isinstance(net, dict):
        return {name: _read(part, slot) for name, part in net.items()}
    return [[getattr(leaf, slot) for leaf in row] for row in net]


def train(
    params: dict[str, Any],
    items: Sequence[Sequence[int]],
    heads: int,
    *,
    num_steps: int,
    rate: float = 0.01,
    b1: float = 0.85,
    b2: float = 0.99,
    eps: float = 1e-8,
    stop_after: int | None = None,
) -> list[float]:
    """Change params in place, one item a step; the loss of each step is that before its change.

    With stop_after, only so many first steps are taken of the schedule of num_steps.
    """
    net = to_scalars(params)
    leaves = [leaf for row in rows(net) for leaf in row]
    means, squares = [0.0] * len(leaves), [0.0] * len(leaves)
    losses = []
    for step in range(num_steps if stop_after is None else stop_after):
        step_loss = item_loss(net, items[step], heads)
        step_loss.backward()
        losses.append(step_loss.value)
        rate_now = rate * (1 - step / num_steps)
        mean_share, square_share = 1 - b1 ** (step + 1), 1 - b2 ** (step + 1)
        for i, leaf in enumerate(leaves):
            grad, leaf.grad = leaf.grad, 0.0
            means[i] = mean = b1 * means[i] + (1 - b1) * grad
            squares[i] = square = b2 * squares[i] + (1 - b2) * grad * grad
            leaf.value -= rate_now * (mean / mean_share) / (math.sqrt(square / square_share) + eps)
    for row, trained in zip(rows(params), rows(net), strict=True):
        row[:] = [leaf.value for leaf in trained]
    return losses
