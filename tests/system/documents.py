"""README.md, CONTRIBUTING.md and docs/*.md as tests read them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATHS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in PATHS}
README, CONTRIBUTING = TEXTS["README.md"], TEXTS["CONTRIBUTING.md"]


def blocks(name):
    """(language, content) of each code block of a document."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", TEXTS[name], re.MULTILINE | re.DOTALL)


def python_of(name):
    return "".join(content for language, content in blocks(name) if language == "python")


def commands_of(name):
    """Yield every mm-jax command line in the code blocks of a document, without its comment."""
    for _, content in blocks(name):
        for row in content.splitlines():
            words = shlex.split(row, comments=True) if "mm-jax" in row else []
            if "mm-jax" in words[:2]:
                yield words[words.index("mm-jax") + 1 :]
