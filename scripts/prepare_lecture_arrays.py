"""Draw the first random arrays of the two makemore lectures, and write them to data/.

They come from PyTorch's generator on the CPU, whose draws JAX cannot repeat. With
``pip install torch==2.13.0 safetensors``:

    python scripts/prepare_lecture_arrays.py

writes data/lecture_arrays.safetensors again, the same bytes.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SEED = 2147483647
PATH = Path(__file__).parents[1] / "data" / "lecture_arrays.safetensors"


def lecture_arrays() -> dict[str, np.ndarray]:
    """Draw the W of lecture 1, and C, W1, b1, W2, b2 of lecture 2, in this order."""
    import torch

    def draw(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        generator = torch.Generator().manual_seed(SEED)
        return {name: torch.randn(s, generator=generator).numpy() for name, s in shapes.items()}

    bigram = draw({"bigram.W": (27, 27)})
    mlp = draw(
        {
            "mlp.C": (27, 2),
            "mlp.W1": (6, 100),
            "mlp.b1": (100,),
            "mlp.W2": (100, 27),
            "mlp.b2": (27,),
        }
    )
    return {name: np.ascontiguousarray(array) for name, array in (bigram | mlp).items()}


if __name__ == "__main__":
    save_file(lecture_arrays(), PATH, {"torch": "2.13.0", "seed": str(SEED)})
