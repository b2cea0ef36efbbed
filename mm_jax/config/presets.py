"""Named runs: those of the lectures and better ones, with the sweep that found each.

Imports no jax.
"""

import dataclasses
from typing import NamedTuple

from mm_jax.config.data import DataConfig
from mm_jax.config.models import (
    TRAINED,
    BigramConfig,
    BowConfig,
    GRUConfig,
    LSTMConfig,
    MLPConfig,
    RNNConfig,
    TrainedConfig,
    TransformerConfig,
    WaveNetConfig,
)
from mm_jax.config.training import OptimizerConfig, RunConfig


class Preset(NamedTuple):
    """A named run: its purpose and its choices."""

    help: str
    config: RunConfig
    found_by: str | None = None  # the sweep of which it is the best setting
    is_default: bool = False  # whether --model NAME begins with it, too


def default_run(model_name: str) -> RunConfig:
    """Return the choices that --model begins with: of the preset that is its default, if any."""
    for preset in PRESETS.values():
        if preset.is_default and preset.config.model.name == model_name:
            return preset.config
    return RunConfig(model=TRAINED[model_name]())


def _modern(learning_rate: float, weight_decay: float | None = None) -> OptimizerConfig:
    """Return adamw with a cosine schedule."""
    return OptimizerConfig(
        optimizer="adamw",
        weight_decay=weight_decay,
        learning_rate=learning_rate,
        schedule="cosine",
        warmup_steps=200,
    )


def _in_shared_rows(
    model: TrainedConfig, optimizer: OptimizerConfig, *, steps: int, batch_size: int = 64
) -> RunConfig:
    """Return the training of a model of rows, each of which several items share."""
    return RunConfig(
        model=model,
        optimizer=optimizer,
        steps=steps,
        batch_size=batch_size,
        row_length=32,
        average_decay=0.998,
    )


# Words as Bengio et al. (2003) took them: those that occur three times or less are one.
WORDS = DataConfig("sotu", items="document", unit="word", min_count=4)


def _bengio(row: int, perplexity: int, model: MLPConfig) -> Preset:
    """Return a net of table 1 of Bengio et al. (2003), trained as nets are today."""
    return Preset(
        f"row {row} of table 1 of Bengio et al. (2003), over words; there perplexity {perplexity}",
        RunConfig(
            data=WORDS,
            model=model,
            optimizer=OptimizerConfig(
                optimizer="adamw",
                weight_decay=0.05,
                decay_biases="no",
                learning_rate=2e-3,
                schedule="cosine",
                warmup_steps=500,
            ),
            steps=25_000,
            batch_size=512,
            sampled_symbols=2048,
        ),
    )


# Of nets that train for about a minute; half of the settings are dropped at a quarter and a half.
_SWEEP = "mm-jax sweep --data lecture-names --average-decay 0.998 --num 12 --halvings 2 "
_GATED = (
    "--embed-dim 32 --hidden-dim 160 --steps 3000 --input-dropout 0,0.1,0.2 --dropout 0:0.4 "
    "--recurrent-dropout 0:0.3 --weight-decay 0.005:0.1:log --learning-rate 0.002:0.01:log"
)

PRESETS = {
    "lecture": Preset("the last MLP of the second makemore lecture; the default", RunConfig()),
    "bigram": Preset(
        "the neural bigram of the first lecture: all bigrams at every step, learning rate 50",
        RunConfig(
            model=BigramConfig(),
            optimizer=OptimizerConfig(learning_rate=50.0, schedule="constant"),
            steps=200,
            full_batch=True,
        ),
    ),
    "modern": Preset(
        "fewer parameters and a lower loss: scaled init, adamw, cosine",
        RunConfig(
            model=MLPConfig(context=6, embed_dim=6, hidden_dim=150, init="scaled"),
            optimizer=OptimizerConfig(
                optimizer="adamw", learning_rate=4e-3, schedule="cosine", warmup_steps=500
            ),
            steps=80_000,
            batch_size=128,
        ),
    ),
    "small": Preset(
        "the best MLP found with at most 12,000 parameters",
        RunConfig(
            model=MLPConfig(context=6, embed_dim=13, hidden_dim=109, init="scaled"),
            optimizer=OptimizerConfig(
                optimizer="adamw",
                weight_decay=0.02976,
                learning_rate=0.007805,
                schedule="cosine",
                warmup_steps=500,
            ),
            steps=200_000,
            batch_size=128,
        ),
        found_by="mm-jax sweep --data lecture-names --preset modern --steps 200000 "
        "--embed-dim 10:16 --hidden-dim 93:132 --weight-decay 0.015:0.05:log "
        "--learning-rate 0.005:0.012:log --num 60 --max-params 12000 --seeds 2",
    ),
    "large": Preset(
        "the best MLP found that trains in minutes on two cores",
        RunConfig(
            model=MLPConfig(
                context=6, embed_dim=24, hidden_dim=1000, init="scaled", dropout=0.1177
            ),
            optimizer=OptimizerConfig(
                optimizer="adamw",
                weight_decay=0.04867,
                learning_rate=0.002081,
                schedule="cosine",
                warmup_steps=500,
            ),
            steps=40_000,
            batch_size=256,
        ),
        found_by="mm-jax sweep --data lecture-names --preset modern --steps 40000 --batch-size 256 "
        "--context 6,7 --embed-dim 24,40 --hidden-dim 800,1000 --dropout 0.1:0.25 "
        "--weight-decay 0.025:0.06:log --learning-rate 0.0015:0.003:log --num 9 --seed 1",
    ),
    "bow": Preset(
        "makemore's bag of words, wider",
        _in_shared_rows(
            BowConfig(embed_dim=128, hidden_dim=256),
            _modern(0.01346, 0.03127),
            steps=5_000,
            batch_size=128,
        ),
        found_by=f"{_SWEEP}--model bow --embed-dim 64,96,128 --hidden-dim 64,128,256 "
        "--steps 5000 --dropout 0,0.05,0.1 --weight-decay 0.005:0.1:log "
        "--learning-rate 0.002:0.02:log",
        is_default=True,
    ),
    "wavenet": Preset(
        "the hierarchical net of the fifth lecture",
        RunConfig(
            model=WaveNetConfig(),
            optimizer=_modern(0.002896, 0.01086),
            steps=13_000,
            batch_size=128,
            average_decay=0.998,
        ),
        found_by=f"{_SWEEP}--model wavenet --embed-dim 16,24,32 --hidden-dim 96,128,160 "
        "--steps 13000 --dropout 0,0.05,0.1 --weight-decay 0.005:0.1:log "
        "--learning-rate 0.001:0.008:log",
        is_default=True,
    ),
    "rnn": Preset(
        "a simple recurrent net",
        _in_shared_rows(
            RNNConfig(embed_dim=32, hidden_dim=192, dropout=0.02798, recurrent_dropout=0.168),
            _modern(0.005116, 0.04198),
            steps=5_000,
        ),
        found_by=f"{_SWEEP}--model rnn --embed-dim 32 --hidden-dim 192 --steps 5000 "
        "--input-dropout 0,0.1 --dropout 0:0.3 --recurrent-dropout 0:0.2 "
        "--weight-decay 0.005:0.1:log --learning-rate 0.001:0.008:log",
        is_default=True,
    ),
    "gru": Preset(
        "a net of gated recurrent units",
        _in_shared_rows(
            GRUConfig(embed_dim=32, hidden_dim=160, dropout=0.1241, recurrent_dropout=0.2189),
            _modern(0.006013, 0.07386),
            steps=3_000,
        ),
        found_by=f"{_SWEEP}--model gru {_GATED}",
        is_default=True,
    ),
    "lstm": Preset(
        "a net of long short-term memory",
        _in_shared_rows(
            LSTMConfig(embed_dim=32, hidden_dim=160, dropout=0.1241, recurrent_dropout=0.2189),
            _modern(0.006013, 0.07386),
            steps=3_000,
        ),
        found_by=f"{_SWEEP}--model lstm {_GATED}",
        is_default=True,
    ),
    "lstm-large": Preset(
        "the best model found that trains in ten minutes on two cores",
        RunConfig(
            model=LSTMConfig(embed_dim=48, hidden_dim=384, dropout=0.362, recurrent_dropout=0.446),
            optimizer=OptimizerConfig(
                optimizer="adamw",
                weight_decay=0.1312,
                learning_rate=0.006426,
                schedule="cosine",
                warmup_steps=200,
                b2=0.99,
            ),
            steps=7_000,
            batch_size=64,
            row_length=32,
            average_decay=0.999,
        ),
        found_by="mm-jax sweep --data lecture-names --model lstm --embed-dim 48 --hidden-dim 384 "
        "--steps 7000 --b2 0.99 --average-decay 0.999 --input-dropout 0,0.1 --dropout 0.3:0.5 "
        "--recurrent-dropout 0.3:0.5 --weight-decay 0.04:0.15:log "
        "--learning-rate 0.004:0.008:log --num 6 --halvings 1",
    ),
    "lstm-words": Preset(
        "the best model of words found that trains in 20 minutes on two cores",
        RunConfig(
            data=dataclasses.replace(WORDS, block=64),
            model=LSTMConfig(200, 288, input_dropout=0.3, dropout=0.5, recurrent_dropout=0.3),
            optimizer=dataclasses.replace(_modern(4e-3, 0.05), clip_norm=1.0),
            steps=7_500,
            batch_size=32,
            sampled_symbols=2048,
            average_decay=0.998,
        ),
    ),
    "transformer": Preset(
        "GPT-2's Transformer, 3 layers of 64",
        _in_shared_rows(
            TransformerConfig(layers=3), _modern(0.006409, 0.01373), steps=3_000, batch_size=32
        ),
        found_by=f"{_SWEEP}--model transformer --layers 3 --embed-dim 64 --heads 4 --steps 3000 "
        "--batch-size 32 --dropout 0,0.05,0.1,0.15 --weight-decay 0.01:0.3:log "
        "--learning-rate 0.002:0.008:log",
        is_default=True,
    ),
    "microgpt": Preset(
        "the net of Karpathy's microgpt, 1,000 steps of one name each",
        RunConfig(
            model=TransformerConfig(
                layers=1,
                embed_dim=16,
                heads=4,
                positions=16,
                norm="rms",
                activation="relu",
                bias="no",
                tied="no",
                init="microgpt",
            ),
            optimizer=OptimizerConfig(
                optimizer="adam", learning_rate=0.01, schedule="linear", b1=0.85, b2=0.99
            ),
            steps=1_000,
            batch_size=1,
        ),
    ),
    # Their n counts the predicted word, too; their h = 0 is a net without a tanh layer. The rows
    # between are these nets mixed with the interpolated trigram: mm-jax mix.
    "bengio-1": _bengio(1, 268, MLPConfig(4, 60, 50, "scaled", direct=True)),
    "bengio-3": _bengio(3, 310, MLPConfig(4, 60, init="scaled", layers=0)),
    "bengio-5": _bengio(5, 279, MLPConfig(4, 30, 50, "scaled", direct=True)),
    "bengio-7": _bengio(7, 293, MLPConfig(2, 30, 50, "scaled", direct=True)),
    "bengio-9": _bengio(9, 276, MLPConfig(4, 30, 100, "scaled")),
}
