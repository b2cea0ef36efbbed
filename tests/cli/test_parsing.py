"""Flags become options, or one line that says which flag is wrong, why, and what to do."""

import dataclasses
import re

import pytest

from mm_jax.cli.commands import sample, train
from mm_jax.cli.main import main
from mm_jax.cli.parsing import base_flags, message_in_box, parse_options
from mm_jax.config.base import flag
from mm_jax.config.data import DataConfig
from mm_jax.config.models import TRAINED, MLPConfig
from mm_jax.config.presets import PRESETS
from mm_jax.config.training import OptimizerConfig, RunConfig


def test_flags_become_options():
    options = parse_options(sample, "mm-jax sample", ["run", "--num=3", "--top-p", "0.5", "--json"])
    assert options == sample.Options("run", num=3, top_p=0.5, json=True)


def test_flags_override_the_preset_that_they_name():
    flags = ["--hidden-dim", "7", "--preset", "modern", "--steps", "5"]
    config = parse_options(train, "mm-jax train", flags).config
    modern = PRESETS["modern"].config
    model = dataclasses.replace(modern.model, hidden_dim=7)
    assert config == dataclasses.replace(modern, model=model, steps=5)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {}),
        (["--steps", "9"], {}),
        (["--preset", "modern", "--model=bigram"], {"preset": "modern", "model": "bigram"}),
        (["--out", "a", "--out=b"], {"out": "b"}),
        (["--resume", "--out", "a"], {"resume": "", "out": "a"}),
        (["--preset"], {}),
        (["--presets", "x", "preset"], {}),
        (["--model="], {"model": ""}),
    ],
)
def test_base_flags_are_found_in_both_spellings(flags, expected):
    assert base_flags(flags) == expected


BOX = """\
╭─ Unrecognized options ───────────╮
│ Unrecognized options: --contxt,  │
│ 5                                │
│ ──────────────────────────────── │
│ Perhaps you meant: --context     │
│ ──────────────────────────────── │
│ For full helptext, see x --help  │
╰──────────────────────────────────╯
"""


def test_the_message_in_a_box_is_one_line_with_the_suggestion():
    expected = "Unrecognized options: --contxt, 5; did you mean --context?"
    assert message_in_box(BOX) == expected
    ascii_box = BOX.translate(str.maketrans("╭╮╰╯│─", "++++|-")).replace("|", "").replace("+", "-")
    assert message_in_box(ascii_box) == expected


def test_a_box_that_cannot_be_read_is_said_to_be_wrong_arguments():
    assert message_in_box("") == "wrong arguments"


CHOICES = {
    "--context 0": ["--context", "at least 1", "0"],
    "--context x": ["--context", "whole number", "'x'"],
    "--context 2.5": ["--context", "whole number", "2.5"],
    "--context 99999999999": ["--context", "at most"],
    "--embed-dim 0": ["--embed-dim", "at least 1"],
    "--hidden-dim -5": ["--hidden-dim", "at least 1", "-5"],
    "--hidden-dim 2000000000 --embed-dim 2000": ["GB", "--hidden-dim"],
    "--init other": ["init", "other", "lecture", "scaled"],
    "--batch-size 0": ["--batch-size", "at least 1", "0"],
    "--steps -1": ["--steps", "at least 0", "-1"],
    "--steps 1e3": ["--steps", "whole number", "1e3"],
    "--steps": ["--steps", "Missing value"],
    "--seed -1": ["--seed", "at least 0", "-1"],
    "--seed 18446744073709551616": ["--seed", "at most 4294967295"],
    "--split-seed -1": ["--split-seed", "at least 0"],
    "--split other": ["split", "other", "lecture", "unique"],
    "--learning-rate nan": ["--learning-rate", "finite", "nan"],
    "--learning-rate inf": ["--learning-rate", "finite", "inf"],
    "--learning-rate -1": ["--learning-rate", "greater than 0", "-1"],
    "--learning-rate 0": ["--learning-rate", "greater than 0"],
    "--learning-rate 1e300": ["--learning-rate", "at most"],
    "--learning-rate big": ["--learning-rate", "must be a number or auto", "'big'"],
    "--weight-decay -1": ["--weight-decay", "at least 0"],
    "--clip-norm 0": ["--clip-norm", "greater than 0"],
    "--warmup-steps -1": ["--warmup-steps", "at least 0"],
    "--schedule other": ["schedule", "other", "constant", "step", "cosine"],
    "--b1 1": ["--b1", "at most 0.999999"],
    "--b2 0.9": ["sgd has no --b2"],
    "--row-length 32": ["--row-length is for models that read rows, and mlp reads windows"],
    "--row-length -1": ["--row-length", "at least 0"],
    "--model transformer --heads 3": ["--heads 3 does not divide --embed-dim 64; --heads 2 does"],
    "--model transformer --positions 4": ["positions of the model", "needs --positions"],
    "--model bow --positions 4": ["items are too long for the 4 positions", "needs --positions"],
    "--model transformer --embed-dim 200000": ["GB", "--embed-dim"],
    "--model lstm --hidden-dim 20000 --seeds 3": ["GB", "--hidden-dim"],
    "--model wavenet --context 6": ["--context must be a power of two, such as 4 or 8, not 6"],
    "--model gru --context 3": ["--context"],
    "--model gru --dropout 1": ["--dropout", "at most 0.99"],
    "--optimizer other": ["--optimizer", "other", "sgd", "adam", "adamw", "lion"],
    "--model other": ["unknown model", "'other'", "mlp"],
    "--model=other": ["unknown model", "'other'", "mlp"],
    "--preset other": ["unknown preset", "'other'", "lecture", "modern"],
    "--learning 0.1": ["--learning", "did you mean --learning-rate?"],
    "--colour red": ["--colour"],
    "stray": ["stray"],
    "--out full": ["full", "not empty"],
    "--unit letter": ["--unit", "'letter'", "'char', 'byte', 'word'"],
    "--items page": ["--items", "'page'", "'line', 'paragraph', 'document'"],
    "--min-count 2": ["--min-count is for --unit word"],
    "--unit byte --lower": ["--lower", "bytes are not letters"],
    "--weights 2": ["--weights needs --column"],
    "--column 1 --items paragraph": ["--column reads one item per row"],
    "--column 2": ["names.txt", "2"],
    "--items document --split unique": ["--split unique", "a document is one"],
    "--items document --block 0": ["--block", "at least 1"],
    "--out in_the_way": ["in_the_way", "not a directory"],
    "--out .": ["not empty"],
}


@pytest.mark.parametrize(("flags", "words"), CHOICES.items(), ids=CHOICES.keys())
def test_a_wrong_choice_for_training(fails, flags, words):
    short = ["--data", "names.txt", "--steps", "3"]
    assert fails(["train", *short, *flags.split()], *words) == ""


OTHERS = {
    "eval": ["RUN"],
    "eval run other": ["other"],
    "eval run --split-name other": ["--split-name", "train, dev, test, all", "'other'"],
    "eval run --data missing.txt": ["missing.txt", "No such file"],
    "eval run --data folder": ["folder", "directory"],
    "eval run --data empty.txt": ["empty.txt"],
    "eval run --data latin.txt": ["latin.txt", "byte 7"],
    "eval run --data unknown.txt": [
        "unknown.txt: 1 of 2 lines contains symbols that are not in the vocabulary, 'X'; ",
        "the first is line 4; --skip-unknown leaves them out",
    ],
    "eval run --data capitals.txt --skip-unknown": [
        "capitals.txt: 2 of 2 lines",
        "'E', 'M', 'A', 'V'; the first is line 1\n",
    ],
    "eval run --data dot.txt": ["dot.txt: 1 of 2 lines", "'.'", "the first is line 4"],
    "eval run --data few.txt --split-name dev": ["2 lines", "too few"],
    "sample": ["RUN"],
    "sample run --prefix emX": ["--prefix", "'X'", "place 3"],
    "sample run --prefix em.": ["--prefix", "'.'", "place 3", "not in the vocabulary"],
    "sample run --prefix emma --max-len 2": ["prefix", "4", "2"],
    "sample run --num 0": ["--num", "at least 1"],
    "sample run --num x": ["--num", "whole number"],
    "sample run --seed -1": ["--seed", "at least 0"],
    "sample run --temperature -1": ["--temperature", "at least 0"],
    "sample run --temperature nan": ["--temperature", "finite"],
    "sample run --top-k 0": ["--top-k", "at least 1"],
    "sample run --top-k 99999999999": ["--top-k", "at most"],
    "sample run --top-p 0": ["--top-p", "greater than 0"],
    "sample run --top-p 1.5": ["--top-p", "at most 1"],
    "sample run --max-len 0": ["--max-len", "at least 1"],
    "score": ["RUN"],
    "score run": ["give at least one line to score, - for stdin, or --data FILE"],
    "score run emma --data names.txt": ["give at least one line", "--data FILE"],
    "score run --data missing.txt": ["missing.txt", "No such file"],
    "score run --data capitals.txt": ["capitals.txt: 2 of 2 lines", "the first is line 1"],
    "score run emma emXma": ["line 2", "'X'", "place 3"],
    "score run em.ma": ["line 1", "'.'", "place 3", "not in the vocabulary"],
    "score run -x": ["-x"],
    "lr-range --min 0": ["--min", "greater than 0", "0"],
    "lr-range --min -1": ["--min", "greater than 0", "-1"],
    "lr-range --min 1 --max 1": ["--min 1 must be below --max 1"],
    "lr-range --min 2": ["--min 2 must be below --max 1"],
    "lr-range --max inf": ["--max", "finite", "inf"],
    "lr-range --min nan": ["--min", "finite", "nan"],
    "lr-range --num 9": ["--num", "at least 10", "9"],
    "lr-range --num 2.5": ["--num", "2.5"],
    "lr-range --seeds 0": ["--seeds", "at least 1", "0"],
    "lr-range --mode grid --steps 0": ["--steps", "at least 1"],
    "lr-range --steps 5": ["--steps is for --mode grid"],
    "lr-range --mode other": ["other", "sweep", "grid"],
    "lr-range --learning-rate 3": ["--learning-rate"],
    "lr-range --optimizer lbfgs": ["lbfgs finds its own step length"],
    "lr-range --optimizer rprop": ["rprop finds its own step length"],
    "train --optimizer rprop --learning-rate auto": ["rprop finds its own step length"],
    "lr-range --model ngram": ["counted, not trained"],
    "lr-range --preset other": ["unknown preset", "modern"],
    "lr-range --figure curve.gif": ["curve.gif", ".png, .svg, .pdf"],
    "lr-range --figure no_folder/curve.png": ["no directory no_folder"],
    "lr-range --figure folder.png": ["folder.png is a directory"],
    "lr-range --data missing.txt": ["missing.txt", "No such file"],
    "lr-range --data names.txt --hidden-dim 2000000000": ["GB", "--hidden-dim"],
    "data": ["missing"],
    "data other": ["other", "names", "lecture-names"],
    "eval no_run": ["no_run", "does not exist"],
    "sample no_run": ["no_run", "does not exist"],
    "score no_run emma": ["no_run", "does not exist"],
    "eval in_the_way": ["in_the_way", "not a run directory", "file"],
    "sample full": ["full", "not a run directory", "config.json"],
    "score full emma": ["full", "not a run directory", "config.json"],
    "trian": ["unknown command", "did you mean train?", "sample"],
    "--json": ["unknown command", "train"],
}


@pytest.mark.parametrize(("line", "words"), OTHERS.items(), ids=OTHERS.keys())
def test_a_wrong_argument_of_another_command(fails, line, words):
    assert fails(line.split(), *words) == ""


@pytest.mark.parametrize("name", TRAINED)
def test_the_flags_of_a_model_stand_in_a_group_of_their_own(capsys, name):
    with pytest.raises(SystemExit):
        main(["train", "--model", name, "--help"])
    out = capsys.readouterr().out
    titles = re.split(r"^\W*(\w+)? ?options\W*$", out, flags=re.MULTILINE)
    groups = dict(zip(titles[1::2], titles[2::2], strict=True))
    found = {title: {*re.findall(r"^\W* (--[\w-]+)", groups[title], re.M)} for title in groups}
    own = {flag(field.name) for field in dataclasses.fields(TRAINED[name])}
    others = {flag(field.name) for each in TRAINED.values() for field in dataclasses.fields(each)}
    assert found.pop("model") == own
    assert "--batch-size" in found[None]
    assert not set().union(*found.values()) & others


def test_the_help_of_train_names_every_choice(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert not end.value.code
    out = capsys.readouterr().out
    groups = {"data", "model", "optimizer"}
    for config in (RunConfig, DataConfig, MLPConfig, OptimizerConfig):
        for field in dataclasses.fields(config):
            assert field.name in groups or f"{flag(field.name)} " in out, field.name
    for field in ("--model", "--preset", "--out"):
        assert f"{field} " in out
