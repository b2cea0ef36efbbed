"""A run -> a page that samples from its model: the parameters, and a script with the forward pass.

web/generator.js computes what the model's ``apply`` does. A page is one file that loads nothing
else; Jinja escapes every text in it, and its security policy forbids all scripts but its own.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jinja2
import numpy as np
from markupsafe import Markup

from mm_jax import __version__
from mm_jax.config.base import InputError
from mm_jax.config.models import KneserNeyConfig, MLPConfig, NgramConfig
from mm_jax.config.training import RunConfig
from mm_jax.models.backoff import to_sparse
from mm_jax.models.base import num_params
from mm_jax.models.ngram import count_logits
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


def payload(run: Run) -> str:
    """Return the model of a run as JSON that can be put into a page.

    ``arrays`` are float32, also of whole numbers, little-endian, in base64; those of several
    members one after another. Raises InputError where a page cannot carry the model.
    """
    config = run.config
    members = 1
    if isinstance(config, RunConfig) and config.seeds > 1:
        members = len(next(iter(run.params.values())))
    model = config.model
    context, kind = run.model.context, "table"
    if isinstance(model, MLPConfig):
        kind, arrays = "mlp", {name: np.asarray(leaf) for name, leaf in run.params.items()}
    elif isinstance(model, NgramConfig):
        context = model.order - 1
        _check_size(run, 4 * run.params["counts"].size)
        arrays = {"logits": np.asarray(count_logits(run.params["counts"], model.smoothing))}
    elif isinstance(model, KneserNeyConfig):
        kind, arrays = "backoff", to_sparse(jax.tree.map(np.asarray, run.params))
        del arrays["longest"]
    else:
        arrays = {"logits": np.asarray(run.params["W"])}
    _check_size(run, 4 * sum(array.size for array in arrays.values()))
    record = {
        "kind": kind,
        "symbols": run.vocab.symbols,
        "unit": run.vocab.unit,
        "lower": run.vocab.lower,
        "context": context,
        "members": members,
        "max_len": run.sample_shape.max_len,
        "endless": run.sample_shape.endless,
        "arrays": {
            name: base64.b64encode(array.astype("<f4").tobytes()).decode()
            for name, array in arrays.items()
        },
    }
    # Without "<" nothing in it can end the script element around it, or begin another.
    return Markup(json.dumps(record).replace("<", "\\u003c"))


def _check_size(run: Run, size: int) -> None:
    if size > MAX_BYTES:
        raise InputError(
            f"the parameters of {run.path} are {size_text(size)}, and a page can carry at most "
            f"{size_text(MAX_BYTES)}"
        )


def title_of(run: Run) -> str:
    """Return the title of a page of a run."""
    return f"{_model_title(run)} on {readable(Path(run.config.data.data).name)}"


def _model_title(run: Run) -> str:
    model, count = run.config.model, getattr(run.config, "seeds", 1)
    names = {
        "mlp": "Multilayer perceptron",
        "bigram": "Neural bigram",
        "ngram": "N-gram counts",
        "kneser-ney": "Kneser-Ney",
    }
    name = names.get(model.name, model.name)
    return f"{name}, ensemble of {count} seeds" if count > 1 else name


def generator_page(run: Run) -> bytes:
    """Return the page that samples from the model of a run. Raises InputError as payload does."""
    check_data_record(run.folder / CONFIG, run.data)
    about = (
        f"A language model of {num_params(run.params):,} parameters, trained on "
        f"{run.data['split_lines'][0]:,} lines, that writes more like them, symbol by symbol."
    )
    return render(
        "page.html.jinja",
        script_names=["generator.js"],
        title=title_of(run),
        about=about,
        model=payload(run),
    )
