"""The report of a run: a page that is whole, harmless, readable, and the same each time."""

import base64
import dataclasses
import hashlib
import html.parser
import itertools
import json
import math
import re

import numpy as np
import pytest

from mm_jax.config.data import DataConfig
from mm_jax.config.models import BigramConfig, KneserNeyConfig, MLPConfig, NgramConfig
from mm_jax.config.training import CountConfig, RunConfig
from mm_jax.reports.analysis import shown_symbols
from mm_jax.reports.browser_model import generator_page
from mm_jax.reports.html import report, result_text
from mm_jax.reports.run_summary import summarize_run
from mm_jax.runs.reader import load_run
from tests.helpers import make_run

EVIL = [
    "<script>alert(1)</script>",
    "</script><b>x",
    "a&b",
    "\"q'",
    "$x$",
    "\u202eabc",
    "{{ 7*7 }}",
]
LINES = [text + str(i) for text in EVIL for i in range(4)]
CURVE = [{"step": 10 * i, "loss": 3 - i / 10, "learning_rate": 0.1} for i in range(1, 9)]
METRICS = [*CURVE, {"step": 80, "train_loss": 2.0, "dev_loss": 2.5}]
VOID = {"meta", "input", "br", "link", "img", "hr"}


def few(vocab_size, frequency):
    return shown_symbols(vocab_size, frequency, 5)


class Page(html.parser.HTMLParser):
    """A page as a tree of what a reader, or a screen reader, needs of it."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.headings, self.scripts, self.text = [], [], [], [], ""
        self.page = page.decode()
        self.feed(self.page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), list(self.open)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append([dict(attrs), ""])

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), list(self.open)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " "

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1][1] += data
        elif "style" not in self.open:
            self.text += data
            if self.open and re.fullmatch("h[1-6]", self.open[-1]):
                self.headings.append((int(self.open[-1][1]), data))

    def all(self, tag):
        return [attrs for name, attrs, _ in self.tags if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    (path / "names.txt").write_text("\n".join(LINES))
    data = DataConfig(str(path / "names.txt"))
    net = RunConfig(data=data, model=MLPConfig(3, 4, 8), batch_size=8, steps=80)
    make_run(path / "mlp", net, metrics=METRICS)
    make_run(path / "bigram", RunConfig(data=data, model=BigramConfig(), steps=80), metrics=METRICS)
    make_run(path / "counts", CountConfig(data, NgramConfig(2, 0.5)))
    make_run(path / "kn", CountConfig(data, KneserNeyConfig(3)))
    return path


@pytest.fixture(scope="module")
def pages(folder):
    """The pages of all runs, each made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mm_jax.reports.plots.symbols.MAX_SYMBOLS", 6
        )  # or tables take most of the time
        found = {
            name: Page(report(summarize_run(load_run(folder / name))))
            for name in ("mlp", "bigram", "counts", "kn")
        }
    return found | {"export": Page(generator_page(load_run(folder / "mlp")))}


@pytest.fixture(params=["mlp", "bigram", "counts", "kn", "export"])
def page(request, pages):
    return pages[request.param]


def test_a_page_asks_for_nothing_outside_of_it(page):
    for _, attrs, _ in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert attrs.get(name, "#").startswith("#"), attrs
    assert "@import" not in page.page
    for address in re.findall(r"https?://[^\s\"'<]+", page.page):
        assert address.startswith("http://www.w3.org/"), address  # names of SVG, not places
    assert not re.search(r"url\((?!#)", page.page)


def test_the_policy_of_a_page_allows_its_own_scripts_alone(page):
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    code = [text for attrs, text in page.scripts if "type" not in attrs]
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code}
    assert digests == allowed
    assert "'unsafe-inline'" not in policy.partition("script-src")[2]
    assert not any(name.startswith("on") for _, attrs, _ in page.tags for name in attrs)


def test_no_text_of_the_data_becomes_a_tag(page):
    assert len(page.scripts) in (0, 5, 6)
    assert not page.all("b")
    assert "alert(1)</script>" not in page.page
    assert "\u202e" not in page.page
    assert "49" not in {text.strip() for text in page.text.split()}  # no template in a template


def test_the_samples_are_there_as_text(pages):
    for name in ("mlp", "kn"):
        labels = [attrs.get("aria-label") for attrs in pages[name].all("th")]
        assert {"<script>alert(1)</script>0", "<script>alert(1)</script>1"} <= set(labels)
        assert "train" in pages[name].text


def test_a_screen_reader_finds_headings_names_and_table_heads(page):
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - level <= 1 for level, later in itertools.pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"
    for attrs in page.all("svg"):
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"]) > 20
    ids = [attrs["id"] for _, attrs, _ in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs, _ in page.tags:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            if name in attrs:
                assert attrs[name] in ids
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
    assert all(attrs["scope"] in ("row", "col") for attrs in page.all("th"))
    for tag, _, inside in page.tags:
        if tag == "table":
            assert "th" in {
                name for name, _, within in page.tags if within[: len(inside)] == inside
            }
    labelled = {attrs["for"] for attrs in page.all("label")}
    assert {attrs["id"] for attrs in page.all("input")} == labelled


def test_the_page_says_what_was_run_on_what_with_what_result(pages, folder):
    text = " ".join(pages["mlp"].text.split())
    for said in (
        "2.5000 nats per symbol on the lines of dev",
        f"as uncertain as a choice among {math.exp(2.5):.2f} equally likely symbols",
        "mlp: context 3, embed dim 4, hidden dim 8, init lecture",
        "sgd, learning rate 0.1, schedule step",
        str(folder / "names.txt"),
        "28",  # lines
        "uniform",
        "this model",
        "mm-jax train --data",
        "jax 0.",
        "--hidden-dim",
        "nearest training line",
        "of them also in train",
    ):
        assert said in text, said
    names = [text for level, text in pages["mlp"].headings if level == 3]
    assert names[1:] == [
        "Loss over steps",
        "The embedding of the symbols",
        "Activations of the hidden layer",
        "Gradients of each array",
    ]
    assert f"this model 2.5000 {2.5 / math.log(2):.4f} {math.exp(2.5):.2f}" in text
    kn = " ".join(pages["kn"].text.split())
    assert "This page cannot sample from the model" not in kn
    assert "Sample ten lines" in text
    assert "Sample ten lines" in kn


def test_a_document_has_no_lines_that_a_loss_is_of(folder):
    summary = summarize_run(load_run(folder / "mlp"))
    assert "nats per symbol on the lines of dev:" in result_text(summary)
    config = summary.run.config
    data = dataclasses.replace(config.data, items="document")
    run = summary.run._replace(config=dataclasses.replace(config, data=data))
    assert "nats per symbol on dev:" in result_text(summary._replace(run=run))
    alone = summary._replace(run=run, losses={"train_loss": 2.0, "dev_loss": None})
    assert "nats per symbol on train:" in result_text(alone)


def has_lookup(page):
    return "lookup" in {attrs.get("id") for attrs in page.all("form")}


def test_what_a_table_has_not_all_of_can_be_looked_up(pages, folder, monkeypatch):
    assert not has_lookup(pages["mlp"])  # the table has all
    assert not has_lookup(pages["export"])
    V = len(load_run(folder / "mlp").vocab)
    assert f"{V} symbols, the nearest ones of each" in pages["mlp"].text
    monkeypatch.setattr("mm_jax.reports.html.shown_symbols", few)
    monkeypatch.setattr("mm_jax.reports.page_tables.shown_symbols", few)
    summary = summarize_run(load_run(folder / "mlp"))
    page = Page(report(summary))
    assert has_lookup(page)
    test_a_screen_reader_finds_headings_names_and_table_heads(page)
    test_the_policy_of_a_page_allows_its_own_scripts_alone(page)
    test_no_text_of_the_data_becomes_a_tag(page)
    assert f"The most frequent 5 of {V} symbols, the nearest ones of each" in page.text
    assert "Look up a symbol" in page.text
    monkeypatch.setattr("mm_jax.reports.browser_model.MAX_BYTES", 100)
    page = Page(report(summary))  # without a model in the page nothing can be computed there
    assert not has_lookup(page)
    assert f"The most frequent 5 of {V} symbols" in page.text


@pytest.mark.slow
def test_the_same_run_gives_the_same_page(pages, folder):
    again = report(summarize_run(load_run(folder / "mlp")))
    assert again.decode() == pages["mlp"].page


def test_the_page_carries_the_parameters_bit_for_bit(pages, folder):
    run = load_run(folder / "mlp")
    attrs, text = pages["mlp"].scripts[0]
    assert attrs == {"type": "application/json", "id": "model"}
    assert "<" in run.vocab.symbols
    assert "<" not in text  # so that nothing in it ends its element
    model = json.loads(text)
    assert model["symbols"] == list(run.vocab.symbols)
    assert (model["kind"], model["context"], model["members"]) == ("mlp", 3, 1)
    for name, array in run.params.items():
        numbers = np.frombuffer(base64.b64decode(model["arrays"][name]), "<f4")
        np.testing.assert_array_equal(numbers, np.asarray(array).reshape(-1))
