"""The pages in headless Chromium: their probabilities are JAX's, their buttons work, offline.

Needs chromium and chromedriver (Debian: chromium, chromium-driver), and is skipped where they are
not installed.
"""

import functools
import json
import re
import shutil
import time

import jax
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import (
    BigramConfig,
    KneserNeyConfig,
    MLPConfig,
    NgramConfig,
)
from mm_jax.config.training import CountConfig, RunConfig
from mm_jax.data.vocab import encode
from mm_jax.models import backoff_tables
from mm_jax.reports.browser_model import generator_page
from mm_jax.reports.embeddings import nearest_rows
from mm_jax.runs.reader import load_run
from tests.helpers import call, make_run, quick_jit
from tests.random_run import ENSEMBLES, NETS, random_run, small

pytestmark = pytest.mark.slow  # a browser
selenium = pytest.importorskip("selenium", reason="the pages are tested with selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PAGES = ["mlp", "ensemble", "bigram", "counts", "letters", "kneser-ney", "sparse"]
NAMES = [
    a + b for a in ("em", "av", "li", "no", "ka", "so") for b in ("ma", "a", "el", "ora", "ny")
]
ODD = ["<script>document['title']='evil'</script>", "<img src=x onerror=document['title']='evil'>"]
ODD += ["a&b", "été", "😀x", "\u202eab", "x y", "日本", "</script>", "$x$", "{{ 1 }}"]
PREFIXES = ["", "e", "em", "emm", "emma", "emmaa", "a", "av", "l", "lie", "no", "nor", "k", "kany"]
PREFIXES += ["s", "soe", "zzz", "lilili", "yy", "ororororororororor"]  # twenty in all


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser for all tests of this process."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("there is no chromium with chromedriver here (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of every kind that a page can carry, over the same names, and one of odd lines."""
    path = tmp_path_factory.mktemp("pages")
    (path / "names.txt").write_text("\n".join([*NAMES, "zoe", "yara"]))
    (path / "odd.txt").write_text("\n".join(text + str(i) for text in ODD for i in range(3)))
    data = DataConfig(str(path / "names.txt"))
    net = {"batch_size": 8, "steps": 40}
    make_run(path / "mlp", RunConfig(data=data, model=MLPConfig(3, 10, 200), **net))
    make_run(path / "ensemble", RunConfig(data=data, model=MLPConfig(2, 4, 8), seeds=3, **net))
    make_run(path / "bigram", RunConfig(data=data, model=BigramConfig(), **net))
    make_run(path / "counts", CountConfig(data, NgramConfig(3, 0.0)))
    make_run(path / "kneser-ney", CountConfig(data, KneserNeyConfig(4)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backoff_tables, "MAX_CELLS", 0)  # as of a large alphabet
        make_run(path / "sparse", CountConfig(data, KneserNeyConfig(4)))
    make_run(path / "letters", CountConfig(data, NgramConfig(1, 1.0)))
    odd = DataConfig(str(path / "odd.txt"))
    make_run(path / "odd", RunConfig(data=odd, model=MLPConfig(3, 4, 8), **net))
    call("report", str(path / "odd"))
    call("report", str(path / "mlp"))
    for name in PAGES:
        call("export", str(path / name), "--html", str(path / f"{name}.html"))
    return path


def visit(browser, page):
    browser.get_log("browser")  # what there was before is another page's
    browser.get(page.as_uri())
    return browser


def complaints(browser):
    """What the console says, and whether anything was asked for but the page itself."""
    asked = browser.execute_script("return performance.getEntriesByType('resource').length")
    return [entry["message"] for entry in browser.get_log("browser")] + asked * ["a request"]


def find(browser, name):
    return browser.find_element(By.ID, name)


def type_in(browser, text, temperature=None):
    """Type a prefix and move the slider, as events that the page hears."""
    browser.execute_script(
        """
        const [text, temperature] = arguments;
        const prefix = document.getElementById("prefix");
        prefix.value = text;
        if (temperature !== null) document.getElementById("temperature").value = temperature;
        prefix.dispatchEvent(new Event("input", { bubbles: true }));
        """,
        text,
        temperature,
    )


def read_all_bars(browser, prefixes, count):
    """The probabilities after each prefix, as read_bars reads them, in a single request.

    Lines are drawn after each prefix, which what is read next must not notice.
    """
    rows = browser.execute_script(
        """
        const prefix = document.getElementById("prefix");
        return arguments[0].map((text) => {
          prefix.value = text;
          prefix.dispatchEvent(new Event("input", { bubbles: true }));
          const bars = [...document.querySelectorAll(".bar")];
          document.querySelector("button.more").click();
          return bars.map((bar) => [Number(bar.dataset.id), Number(bar.dataset.probability)]);
        });
        """,
        prefixes,
    )
    probs = np.zeros((len(prefixes), count))
    for row, bars in zip(probs, rows, strict=True):
        assert len(bars) == count
        for i, p in bars:
            row[i] = p
    return probs


def read_bars(browser, count):
    """The probability of each symbol as the page has it, by id."""
    bars = browser.execute_script(
        "return [...document.querySelectorAll('.bar')]"
        ".map(bar => [Number(bar.dataset.id), Number(bar.dataset.probability)])"
    )
    probs = np.zeros(count)
    for i, p in bars:
        probs[i] = p
    assert len(bars) == count
    return probs


def jax_probabilities(run, text, temperature=1.0):
    """What JAX says, by the model's own step, in float32."""
    start, step = compiled(run.model)
    carry = start(run.params)
    for token in (0, *encode(run.vocab, text)):
        carry, logits = step(run.params, carry, np.int32(token))
    return np.asarray(jax.nn.softmax(logits / np.float32(temperature)))


@functools.cache
def compiled(model):
    return quick_jit(model.start), quick_jit(model.step)


@pytest.fixture(scope="module")
def run_of(folder):
    """The run of a name, whose page is written: of those in the folder, or of random numbers."""
    data = DataConfig(str(folder / "names.txt"))

    def find_or_make(name):
        if (folder / name).exists():
            return load_run(folder / name)
        seeds = 3 if name in ENSEMBLES else 1
        run = random_run(folder / name, data, (NETS | ENSEMBLES)[name], seeds)
        (folder / f"{name}.html").write_bytes(generator_page(run))
        return run

    return find_or_make


@pytest.mark.parametrize("name", dict.fromkeys([*PAGES, *NETS, *ENSEMBLES]))
def test_probabilities_in_the_page_are_those_of_jax(browser, folder, run_of, name):
    run = run_of(name)
    visit(browser, folder / f"{name}.html")
    found = read_all_bars(browser, PREFIXES, len(run.vocab))
    expected = np.stack([jax_probabilities(run, prefix) for prefix in PREFIXES])
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    type_in(browser, "ka", 0.5)
    np.testing.assert_allclose(
        read_bars(browser, len(run.vocab)), jax_probabilities(run, "ka", 0.5), atol=1e-5
    )
    type_in(browser, "ka", 0)
    found = read_bars(browser, len(run.vocab))
    assert found.max() == found.sum() == 1
    assert found.argmax() == jax_probabilities(run, "ka").argmax()
    assert complaints(browser) == []


def test_a_net_makes_at_most_as_many_symbols_as_it_has_positions(browser, folder, run_of):
    assert run_of("transformer").model.max_len == 24
    visit(browser, folder / "transformer.html")
    type_in(browser, "a" * 23)
    assert find(browser, "problem").text == ""
    browser.find_element(By.CSS_SELECTOR, "button.more").click()
    assert {len(name) for name in names_in(browser)} <= {23, 24}
    type_in(browser, "a" * 24)
    assert "at most 24 symbols" in find(browser, "problem").text
    assert complaints(browser) == []


COUNT_TANH = """
const tanh = Math.tanh;
window.calls = 0;
Math.tanh = (x) => { window.calls += 1; return tanh(x); };
"""


def test_a_long_document_is_read_and_drawn_one_step_a_symbol(browser, folder):
    """Of GELU's tanh each step needs the same number."""
    (folder / "long.txt").write_text("On and on. It goes on.\n" * 9)
    net = small("transformer", layers=2, embed_dim=32, positions=600)
    data = DataConfig(str(folder / "long.txt"), items="document")
    run = random_run(folder / "long", data, net)
    (folder / "long.html").write_bytes(generator_page(run))
    visit(browser, folder / "long.html")
    names_in(browser)  # those that a page begins with
    browser.execute_script(COUNT_TANH)

    def steps():
        calls = browser.execute_script("const { calls } = window; window.calls = 0; return calls")
        return calls / (net.layers * 4 * net.embed_dim)

    type_in(browser, "On and on")
    assert steps() == 9
    type_in(browser, "On and on.")
    assert steps() == 1
    type_in(browser, "On and so")
    assert steps() == 2
    browser.find_element(By.CSS_SELECTOR, "button.more").click()
    assert [text[:9] for text in names_in(browser)] == ["On and so"] * 3
    assert steps() == 3 * (500 - 9 - 1)  # nothing is predicted after the last symbol
    lengths = browser.execute_script(
        "return [...names.children].map((li) => li.textContent.length)"
    )
    assert lengths == [500] * 3
    assert complaints(browser) == []


def test_a_report_has_the_same_generator(browser, folder):
    run = load_run(folder / "mlp")
    visit(browser, folder / "mlp" / "report.html")
    for prefix in PREFIXES[:5]:
        type_in(browser, prefix)
        found = read_bars(browser, len(run.vocab))
        np.testing.assert_allclose(found, jax_probabilities(run, prefix), atol=1e-5)
    assert complaints(browser) == []


def names_in(browser):
    """The lines that are shown, once all that were asked for are."""
    lines, deadline = find(browser, "names"), time.monotonic() + 60
    while lines.get_attribute("aria-busy"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return [item.text for item in find(browser, "names").find_elements(By.TAG_NAME, "li")]


def test_the_button_makes_ten_more(browser, folder):
    visit(browser, folder / "mlp.html")
    first = names_in(browser)
    assert len(first) == 10  # there are some before anybody asks
    prefix = find(browser, "prefix")
    prefix.send_keys("em")
    button = browser.find_element(By.CSS_SELECTOR, "button.more")
    assert button.text == "Sample ten lines"
    seen = set()
    for _ in range(3):
        button.click()
        made = names_in(browser)
        assert len(made) == 10
        assert all(name.startswith("em") and len(name) <= 64 for name in made)
        seen |= {*made}
    assert len(seen) > 10
    prefix.send_keys(Keys.ENTER)  # as good as the button
    assert set(names_in(browser)) != set(made)
    type_in(browser, "em", 0)
    button.click()
    assert len(set(names_in(browser))) == 1  # at temperature 0 there is no chance
    assert complaints(browser) == []


def test_the_page_answers_while_lines_are_drawn(browser, folder):
    """However slow: here more time goes by between two symbols than the page may take at once."""
    visit(browser, folder / "mlp.html")
    names_in(browser)
    shown, is_busy = browser.execute_script(
        """
        let milliseconds = 0;
        performance.now = () => (milliseconds += 1000);
        const names = document.getElementById("names");
        const more = document.querySelector("button.more");
        more.click();
        await new Promise((done) => setTimeout(done)); // after one symbol or two
        const answer = [names.children.length, names.ariaBusy];
        more.click(); // which ends what was asked for first
        return answer;
        """
    )
    assert shown < 10
    assert is_busy == "true"
    first = names_in(browser)
    assert len(first) == 10
    time.sleep(0.1)
    assert names_in(browser) == first
    assert complaints(browser) == []


def test_what_it_draws_comes_as_often_as_its_probability_says(browser, folder):
    """Of the unigram model every symbol is a draw of its own."""
    run = load_run(folder / "letters")
    visit(browser, folder / "letters.html")
    made = browser.execute_script(
        """
        const made = [], names = document.getElementById("names");
        for (let i = 0; i < 100; i++) {
          document.querySelector("button.more").click();
          while (names.ariaBusy) await new Promise((done) => setTimeout(done));
          for (const item of names.children) made.push(item.textContent);
        }
        return made;
        """
    )
    assert len(made) == 1000
    ended = sum(len(name) < 64 for name in made)
    draws = sum(map(len, made)) + ended
    probs = jax_probabilities(run, "")
    counts = [ended, *(sum(name.count(s) for name in made) for s in run.vocab.symbols[1:])]
    sigma = np.sqrt(draws * probs * (1 - probs))
    assert (np.abs(counts - draws * probs) < 5 * sigma).all()


def test_a_bar_appends_its_symbol_and_keeps_the_focus(browser, folder):
    run = load_run(folder / "mlp")
    visit(browser, folder / "mlp.html")
    for symbol in "ka":
        i = run.vocab.symbols.index(symbol)
        browser.find_element(By.CSS_SELECTOR, f'.bar[data-id="{i}"]').send_keys(Keys.ENTER)
    assert find(browser, "prefix").get_property("value") == "ka"
    assert browser.switch_to.active_element.get_attribute("data-id") == str(i)
    end = browser.find_element(By.CSS_SELECTOR, '.bar[data-id="0"]')
    assert not end.is_enabled()
    assert re.fullmatch(r"end <?\d+\.\d+%", end.get_property("textContent"))  # as it is read out
    chips = [chip.text for chip in find(browser, "typed").find_elements(By.TAG_NAME, "span")]
    first, second = jax_probabilities(run, ""), jax_probabilities(run, "k")
    expected = [first[run.vocab.symbols.index("k")], second[run.vocab.symbols.index("a")]]
    for chip, symbol, p in zip(chips, "ka", expected, strict=True):
        assert chip.split()[0] == symbol
        assert float(chip.split()[1].strip("<%")) == pytest.approx(100 * p, abs=0.06)


def test_what_the_model_does_not_know_is_said_and_nothing_is_made_of_it(browser, folder):
    run = load_run(folder / "mlp")
    visit(browser, folder / "mlp.html")
    before = names_in(browser)
    for text, said in (
        ("eQ", "does not know “Q”"),
        ("a.b", "does not know “.”"),
        ("a" * 64, "64 symbols"),
    ):
        type_in(browser, text)
        assert said in find(browser, "problem").text
        assert browser.find_elements(By.CSS_SELECTOR, ".bar") == []
        browser.find_element(By.CSS_SELECTOR, "button.more").click()
        assert names_in(browser) == before
    with pytest.raises(InputError, match="'Q'"):
        encode(run.vocab, "eQ")
    type_in(browser, "e")
    assert find(browser, "problem").text == ""
    assert complaints(browser) == []


KINDS = {  # the choices of the data, the data, and prefixes
    "cities": ({}, "St. Louis\nSt. Paul\nD.C.\nUlm\n" * 5, ["", "St. ", "D."]),
    "words": (
        {"unit": "word", "lower": True, "min_count": 2},
        'Don\'t say "no", he said (twice): 3.14 is 1,000 well-known.\n' * 12 + "Odd words\n",
        ["", "don't", 'He said "NO", (3.14 well-known', "1,000 zebras."],
    ),
    "sentences": (
        {"unit": "word", "merge_numbers": True, "sentence_ends": True},
        'Mr. J. Day paid $1,250.50 in 1901. "All?" He did. The 1st B-52!\n' * 12,
        ["", "Mr. Day paid 7.", '"All?" The', "Day in 1,000 J.", "He did! The 1st"],
    ),
    "paragraphs": ({"items": "paragraph"}, "one\ntwo\n\nthree\n\n" * 8, ["", "one\ntw"]),
    "document": ({"items": "document"}, "On and on. It goes on.\n" * 9, ["", "On and", "n.\nO"]),
    "rows": ({"items": "document"}, "On and on. It goes on.\n" * 9, ["", "On and", "n.\nO"]),
    "bytes": ({"unit": "byte"}, "zoë\nana\n" * 9, ["", "zo", "zoë"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_data_is_typed_and_appended_to(browser, folder, kind):
    choices, text, prefixes = KINDS[kind]
    path = folder / kind
    (folder / f"{kind}.txt").write_text(text)
    data = DataConfig(str(folder / f"{kind}.txt"), **choices)
    net = small("transformer", positions=512) if kind == "rows" else MLPConfig(3, 4, 8)
    make_run(path, RunConfig(data=data, model=net, batch_size=8, steps=40))
    call("export", str(path), "--html", str(folder / f"{kind}.html"))
    run = load_run(path)
    visit(browser, folder / f"{kind}.html")
    is_document = data.items == "document"
    for prefix in prefixes:
        type_in(browser, prefix)
        ids = encode(run.vocab, prefix).tolist()
        expected = jax_probabilities(run, prefix).copy()
        if is_document:
            expected[0] = 0.0
            expected /= expected.sum()
        bars = browser.execute_script(
            "return [...document.querySelectorAll('.bar')].map("
            "bar => [Number(bar.dataset.id), Number(bar.dataset.probability), bar.disabled])"
        )
        assert all(abs(expected[i] - p) < 1e-5 for i, p, _ in bars)
        assert (0 in [i for i, _, _ in bars]) != is_document or len(run.vocab) > 64
        assert len(browser.find_elements(By.CSS_SELECTOR, "#typed span")) == len(ids)
        free = [i for i, _, disabled in bars if not disabled]
        for i in (free[0], free[-1]):
            type_in(browser, prefix)
            browser.find_element(By.CSS_SELECTOR, f'.bar[data-id="{i}"]').click()
            assert find(browser, "prefix").get_property("value") == run.vocab.join([*ids, i])
    type_in(browser, "")
    browser.find_element(By.CSS_SELECTOR, "button.more").click()
    lengths = [len(run.vocab.split(text)) for text in names_in(browser)]
    assert len(lengths) == (3 if is_document else 10)
    if is_document:
        assert min(lengths) > 490  # white space at its ends is not read back
    assert complaints(browser) == []


WORDS = [f"{a}{b}" for a in "abcdefghijklm" for b in ("a", "ab", "abc", *map(str, range(17)))]


@pytest.fixture(scope="module")
def lookup(folder):
    """The report of a net on more words than its table of neighbours has, and its run."""
    text = "\n".join(" ".join(WORDS[i : i + 13]) for i in range(0, len(WORDS), 13))
    (folder / "lookup.txt").write_text(text * 9)
    data = DataConfig(str(folder / "lookup.txt"), items="document", unit="word")
    make_run(folder / "lookup", RunConfig(data=data, model=MLPConfig(2, 6, 8), batch_size=8))
    call("report", str(folder / "lookup"))
    return load_run(folder / "lookup")


def nearest_in(browser):
    """The nearest symbols that the page shows: ids, distances, and texts."""
    found = browser.execute_script(
        "return [...document.querySelectorAll('#nearest li')].map("
        "li => [Number(li.dataset.id), Number(li.dataset.distance), li.textContent])"
    )
    return [list(column) for column in zip(*found, strict=True)]


def test_a_word_is_looked_up_by_its_nearest_ones(browser, folder, lookup):
    visit(browser, folder / "lookup" / "report.html")
    field = find(browser, "looked-up")
    field.send_keys("c1")
    expected = nearest_rows(lookup.params["C"], 10)
    for word in ("c1", "m16", "aab"):
        field.clear()
        field.send_keys(word)
        i = lookup.vocab.symbols.index(word)
        ids, distances, texts = nearest_in(browser)
        assert ids == expected.ids[i].tolist()
        np.testing.assert_allclose(distances, expected.distances[i], rtol=1e-5)
        first, far = ids[0], expected.distances[i, 0]
        assert texts[0] == f"{lookup.vocab.symbols[first]} {far:.2f}"
    shown = browser.execute_script("return document.getElementById('known').options.length")
    assert shown == 2  # aab, aabc
    assert complaints(browser) == []


def test_known_words_are_suggested_and_an_unknown_one_is_said_to_be_so(browser, folder, lookup):
    visit(browser, folder / "lookup" / "report.html")
    field, problem = find(browser, "looked-up"), find(browser, "not-known")

    def suggested():
        return browser.execute_script(
            "return [...document.getElementById('known').options].map(each => each.value)"
        )

    field.send_keys("d")
    assert suggested() == sorted(word for word in WORDS if word[0] == "d")
    assert len(suggested()) == 20
    field.send_keys("1")
    assert suggested() == sorted(word for word in WORDS if word.startswith("d1"))
    field.send_keys("99")
    assert (suggested(), nearest_in(browser), problem.text) == ([], [], "")  # still being typed
    field.send_keys(Keys.ENTER)
    assert problem.text == "The model does not know “d199”."
    field.send_keys(Keys.BACKSPACE, Keys.BACKSPACE)
    assert problem.text == ""
    assert len(nearest_in(browser)[0]) == 10  # of d1
    field.clear()
    field.send_keys("zz", Keys.TAB)  # to leave it is to ask
    assert problem.text == "The model does not know “zz”."
    assert browser.switch_to.active_element.text == "Show the nearest"
    field.clear()
    field.send_keys(" a ")
    assert problem.text == ""
    field.send_keys(Keys.ENTER)
    assert problem.text == "The model does not know “a”."
    assert complaints(browser) == []


def test_lines_that_would_be_tags_are_text(browser, folder):
    visit(browser, folder / "odd" / "report.html")
    browser.find_element(By.CSS_SELECTOR, "button.more").click()
    type_in(browser, "<script>")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#typed span")) == 8
    run = load_run(folder / "odd")
    found = read_bars(browser, len(run.vocab))
    np.testing.assert_allclose(found, jax_probabilities(run, "<script>"), atol=1e-5)
    assert browser.title == "Multilayer perceptron on odd.txt"
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 5
    assert browser.find_elements(By.TAG_NAME, "img") == []
    heads = browser.find_elements(By.CSS_SELECTOR, "th.symbols")
    assert f"{ODD[0]}0" in [head.get_attribute("aria-label") for head in heads]
    assert complaints(browser) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_a_report_fits_its_window_in_both_themes(browser, folder, width, theme):
    themed = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", themed)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        visit(browser, folder / "mlp" / "report.html")
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        colors = browser.execute_script(
            "const style = getComputedStyle(document.body);"
            "return [style.color, style.backgroundColor].map(c => c.match(/\\d+/g).map(Number))"
        )
        ink, paper = (sum(color) / 3 for color in colors)
        assert (ink < 80 and paper > 200) if theme == "light" else (ink > 200 and paper < 80)
        label = browser.execute_script(
            "return getComputedStyle(document.querySelector('figure svg text')).fill"
        )
        assert [int(n) for n in label[4:-1].split(",")] == colors[0]  # a figure follows the theme
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_settings_of_a_sweep_are_sorted_by_a_press(browser, folder):
    path = folder / "swept"
    net = ["--embed-dim", "4", "--hidden-dim", "8", "--init", "scaled", "--batch-size", "16"]
    call(
        *("sweep", "--data", str(folder / "names.txt"), "--steps", "40", *net, "--seeds", "2"),
        *("--learning-rate", "0.03,0.3,0.1", "--optimizer", "sgd,adam", "--out", str(path)),
    )
    call("plot", str(path))
    assert (path / "figures" / "choices.png").exists()
    call("report", str(path))
    visit(browser, path / "report.html")
    settings = json.loads((path / "sweep.json").read_text())["settings"]

    def column(number):
        rows = browser.find_elements(By.CSS_SELECTOR, "table.sortable tbody tr")
        return [row.find_elements(By.TAG_NAME, "td")[number].text for row in rows]

    heads = browser.find_elements(By.CSS_SELECTOR, "table.sortable th")
    assert (
        "the best, " + f"{settings[0]['mean_dev_loss']:.4f}" in (path / "report.html").read_text()
    )
    names = [head.text.split(" ↕")[0] for head in heads]
    rate = next(i for i, name in enumerate(names) if name.startswith("learning rate"))
    assert [float(text.split()[0]) for text in column(len(heads) - 1)] == pytest.approx(
        [each["mean_dev_loss"] for each in settings], abs=5e-5
    )
    assert heads[-1].get_attribute("aria-sort") == "ascending"
    for direction in ("ascending", "descending"):
        heads[rate].find_element(By.TAG_NAME, "button").click()
        rates = [float(text) for text in column(rate)]
        assert rates == sorted(rates, reverse=direction == "descending")
        assert heads[rate].get_attribute("aria-sort") == direction
    assert heads[-1].get_attribute("aria-sort") is None
    assert len(browser.find_elements(By.CSS_SELECTOR, "figure svg")) == 2
    run = load_run(path / "best")
    type_in(browser, "em")
    np.testing.assert_allclose(
        read_bars(browser, len(run.vocab)), jax_probabilities(run, "em"), atol=1e-5
    )
    assert complaints(browser) == []
