"""makemore's models in PyTorch, in lines of our own: the shapes that our models are timed beside.

As there, cells are called once per time step, and attention is a softmax that is written out. Each
public function is a job (see jobs.py); torch is imported where it is used.
"""

import time
from typing import Any

DIM, LAYERS, HEADS, LENGTH = 64, 4, 4, 16  # makemore's defaults, and its rows of names
VOCAB_SIZE = 27
NAMES_AT_ONCE = 10  # that makemore samples


def steps_in_pytorch(model: str, steps: int) -> dict[str, Any]:
    """Take steps of a batch of 32 rows, and return the milliseconds of one."""
    import torch

    torch.manual_seed(0)
    tokens, targets = _rows()
    module = torch.nn.ModuleDict()
    logits = {"bow": _bow, "rnn": _rnn, "gru": _gru, "lstm": _lstm, "transformer": _transformer}
    apply = logits[model](module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-4, weight_decay=0.01)

    def step() -> float:
        numbers = torch.randint(0, len(tokens), (32,))
        flat = apply(tokens[numbers]).reshape(-1, VOCAB_SIZE)
        loss = torch.nn.functional.cross_entropy(
            flat, targets[numbers].reshape(-1), ignore_index=-1
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = [step() for _ in range(3)]  # the first ones reserve memory
    begun = time.perf_counter()
    losses += [step() for _ in range(steps)]
    milliseconds = (time.perf_counter() - begun) / steps * 1e3
    count = sum(parameter.numel() for parameter in module.parameters())
    return {"milliseconds": milliseconds, "num_params": count, "losses": [losses[0], losses[-1]]}


def names_in_pytorch(num: int) -> dict[str, Any]:
    """Sample names as makemore does: some at once, all of what was drawn read again each time.

    Each batch goes on until no name can be longer, so that the parameters do not matter.
    """
    import torch

    torch.manual_seed(0)
    apply = _transformer(torch.nn.ModuleDict())

    @torch.no_grad()
    def draw() -> Any:
        tokens = torch.zeros(NAMES_AT_ONCE, 1, dtype=torch.long)
        for _ in range(LENGTH - 1):
            probs = torch.softmax(apply(tokens)[:, -1], -1)
            tokens = torch.cat([tokens, torch.multinomial(probs, 1)], 1)
        return tokens

    draw()
    begun = time.perf_counter()
    for _ in range(0, num, NAMES_AT_ONCE):
        draw()
    seconds = time.perf_counter() - begun
    return {"names": num / seconds, "seconds": seconds}


def _rows() -> tuple[Any, Any]:
    """Return the names that ship as rows of tokens and targets, whose padding is -1."""
    import torch

    import mm_jax as mm

    corpus = mm.split(mm.read_corpus("names")).train
    batch = mm.rows(corpus, length=LENGTH - 1)
    tokens, targets, weights = (
        torch.tensor(each.tolist()) for each in (batch.tokens, batch.targets, batch.weights)
    )
    return tokens, torch.where(weights > 0, targets, -1)


def _linear(module: Any, name: str, fan_in: int, fan_out: int) -> Any:
    import torch

    module[name] = torch.nn.Linear(fan_in, fan_out)
    return module[name]


def _embedding(module: Any, name: str, count: int) -> Any:
    import torch

    module[name] = torch.nn.Embedding(count, DIM)
    return module[name]


def _bow(module: Any) -> Any:
    import torch

    symbols, places = _embedding(module, "wte", VOCAB_SIZE), _embedding(module, "wpe", LENGTH)
    up, down = _linear(module, "up", DIM, DIM), _linear(module, "down", DIM, DIM)
    head = _linear(module, "head", DIM, VOCAB_SIZE)
    future = torch.ones(LENGTH, LENGTH).triu(1).bool()

    def apply(tokens: Any) -> Any:
        x = symbols(tokens) + places(torch.arange(LENGTH))
        shares = torch.zeros(len(tokens), LENGTH, LENGTH).masked_fill(future, -torch.inf)
        x = x + torch.softmax(shares, -1) @ x
        x = x + down(torch.tanh(up(x)))
        return head(x)

    return apply


def _recurrent(module: Any, num_states: int, advance: Any) -> Any:
    """Return the function of tokens that calls a cell once per time step."""
    import torch

    symbols, head = _embedding(module, "wte", VOCAB_SIZE), _linear(module, "head", DIM, VOCAB_SIZE)

    def apply(tokens: Any) -> Any:
        embedded = symbols(tokens)
        states = [torch.zeros(len(tokens), DIM)] * num_states
        outputs = []
        for place in range(LENGTH):
            states = advance(embedded[:, place], states)
            outputs.append(states[0])
        return head(torch.stack(outputs, 1))

    return apply


def _rnn(module: Any) -> Any:
    import torch

    cell = _linear(module, "cell", 2 * DIM, DIM)
    return _recurrent(module, 1, lambda x, states: [torch.tanh(cell(torch.cat([x, *states], 1)))])


def _gru(module: Any) -> Any:
    import torch

    reset, update, new = (
        _linear(module, f"{name}_gate", 2 * DIM, DIM) for name in ("reset", "update", "new")
    )

    def advance(x: Any, states: Any) -> Any:
        [h] = states
        both = torch.cat([x, h], 1)
        r, z = torch.sigmoid(reset(both)), torch.sigmoid(update(both))
        candidate = torch.tanh(new(torch.cat([x, r * h], 1)))
        return [(1 - z) * h + z * candidate]

    return _recurrent(module, 1, advance)


def _lstm(module: Any) -> Any:
    import torch

    cell = _linear(module, "cell", 2 * DIM, 4 * DIM)

    def advance(x: Any, states: Any) -> Any:
        h, c = states
        enter, forget, output, new = cell(torch.cat([x, h], 1)).chunk(4, 1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
        return [torch.sigmoid(output) * torch.tanh(c), c]

    return _recurrent(module, 2, advance)


def _transformer(module: Any) -> Any:
    import torch

    symbols, places = _embedding(module, "wte", VOCAB_SIZE), _embedding(module, "wpe", LENGTH)
    blocks = [_block(module, f"layer{i}") for i in range(LAYERS)]
    module["norm"] = torch.nn.LayerNorm(DIM)
    module["head"] = torch.nn.Linear(DIM, VOCAB_SIZE, bias=False)

    def apply(tokens: Any) -> Any:
        x = symbols(tokens) + places(torch.arange(tokens.shape[1]))
        for block in blocks:
            x = block(x)
        return module["head"](module["norm"](x))

    return apply


def _block(module: Any, name: str) -> Any:
    import torch

    qkv, out = _linear(module, f"{name}qkv", DIM, 3 * DIM), _linear(module, f"{name}out", DIM, DIM)
    up = _linear(module, f"{name}up", DIM, 4 * DIM)
    down = _linear(module, f"{name}down", 4 * DIM, DIM)
    norms = [torch.nn.LayerNorm(DIM) for _ in range(2)]
    module[f"{name}norm1"], module[f"{name}norm2"] = norms
    future = torch.ones(LENGTH, LENGTH).triu(1).bool()

    def block(x: Any) -> Any:
        length = x.shape[1]
        shape = (len(x), length, HEADS, DIM // HEADS)
        q, k, v = (each.reshape(shape).transpose(1, 2) for each in qkv(norms[0](x)).chunk(3, -1))
        scores = (q @ k.transpose(-2, -1)) * (DIM // HEADS) ** -0.5
        weights = torch.softmax(scores.masked_fill(future[:length, :length], -torch.inf), -1)
        x = x + out((weights @ v).transpose(1, 2).reshape(x.shape))
        return x + down(torch.nn.functional.gelu(up(norms[1](x)), approximate="tanh"))

    return block
