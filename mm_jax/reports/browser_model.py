"""A run -> a page that samples from its model: the parameters, and scripts with the forward pass.

web/models/ has a script for each kind of model, which computes what its ``step`` does; only the one
that is needed goes into a page. A page is one file that loads nothing else; Jinja escapes every
text in it, and its security policy forbids all scripts but its own.
"""

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jinja2
import numpy as np
from markupsafe import Markup

from mm_jax import __version__
from mm_jax.config.base import InputError
from mm_jax.data.word_tokens import ABBREVIATIONS
from mm_jax.models.base import ForBrowser, num_params
from mm_jax.reports.analysis import readable
from mm_jax.runs.layout import CONFIG, check_data_record
from mm_jax.runs.reader import Run
from mm_jax.runtime.atomic_files import size_text

WEB = Path(__file__).with_name("web")
MAX_BYTES = 12 * 10**6  # of parameters in a page
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(WEB),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


class Script(NamedTuple):
    """A script, and the hash that the security policy of its page names."""

    text: str
    digest: str


class Payload(NamedTuple):
    """A model as a page carries it."""

    text: str  # JSON, to be put into the page as it is
    script_names: list[str]  # that run it, in their order
    has_embedding: bool  # whether one of its arrays is the embedding of the symbols


def script(name: str) -> Script:
    """Return a script of web/, to be put into a page as it is."""
    text = (WEB / name).read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), digest)


def render(template: str, *, script_names: Iterable[str], **values: Any) -> bytes:
    """Return a page from a template of web/; texts are escaped, scripts and figures are not."""
    scripts = [script(name) for name in script_names]
    css = Markup((WEB / "page.css").read_text("utf-8"))
    page = TEMPLATES.get_template(template)
    return page.render(scripts=scripts, css=css, version=__version__, **values).encode()


def payload(run: Run) -> Payload:
    """Return the model of a run as a page carries it, from what its ``for_browser`` says.

    ``arrays`` are float32, also of whole numbers, little-endian, in base64; those of several
    members one after another, and ``shapes`` are those of one member; ``embedding`` is the name of
    the one that is the embedding, or null. Raises InputError where a page cannot carry the model.
    """
    found = _for_browser(run)
    arrays = {name: np.asarray(array) for name, array in found.arrays.items()}
    is_stacked = found.members is not None
    record = {
        "kind": found.kind,
        "numbers": found.numbers,
        "symbols": run.vocab.symbols,
        "unit": run.vocab.unit,
        "lower": run.vocab.lower,
        "merge_numbers": run.vocab.merge_numbers,
        "abbreviations": sorted(ABBREVIATIONS) if run.vocab.sentence_ends else None,
        "context": run.model.context,
        "members": found.members or 1,
        "max_len": run.sample_shape.max_len,
        "endless": run.sample_shape.endless,
        "embedding": found.embedding,
        "shapes": {name: array.shape[is_stacked:] for name, array in arrays.items()},
        "arrays": {
            name: base64.b64encode(array.astype("<f4").tobytes()).decode()
            for name, array in arrays.items()
        },
    }
    # Without "<" nothing in it can end the script element around it, or begin another.
    text = Markup(json.dumps(record).replace("<", "\\u003c"))
    names = ["layers.js", f"models/{found.kind}.js", "payload.js", "generator.js"]
    return Payload(text, names, found.embedding is not None)


def _for_browser(run: Run) -> ForBrowser:
    """Return the model of a run for a page. Raises InputError where a page cannot carry it."""
    make = run.model.for_browser
    if make is None:
        raise InputError(f"the model of {run.path} has no page yet: its Model has no for_browser")
    # Counts of n-grams become logits, and arrays that are too large need not be made.
    with contextlib.suppress(jax.errors.TracerArrayConversionError):  # shapes depend on numbers
        _check_size(run, jax.eval_shape(lambda params: make(params).arrays, run.params))
    found = make(run.params)
    _check_size(run, found.arrays)
    return found


def _check_size(run: Run, arrays: Mapping[str, Any]) -> None:
    size = 4 * sum(array.size for array in arrays.values())
    if size > MAX_BYTES:
        raise InputError(
            f"the parameters of {run.path} are {size_text(size)}, and a page can carry at most "
            f"{size_text(MAX_BYTES)}"
        )


def title_of(run: Run) -> str:
    """Return the title of a page of a run."""
    return f"{_model_title(run)} on {readable(Path(run.config.data.data).name)}"


def _model_title(run: Run) -> str:
    name, count = run.config.model.title, getattr(run.config, "seeds", 1)
    return f"{name}, ensemble of {count} seeds" if count > 1 else name


def generator_page(run: Run) -> bytes:
    """Return the page that samples from the model of a run. Raises InputError as payload does."""
    check_data_record(run.folder / CONFIG, run.data)
    about = (
        f"A language model of {num_params(run.params):,} parameters, trained on "
        f"{run.data['split_lines'][0]:,} lines, that writes more like them, symbol by symbol."
    )
    model = payload(run)
    return render(
        "page.html.jinja",
        script_names=model.script_names,
        title=title_of(run),
        about=about,
        model=model.text,
    )
