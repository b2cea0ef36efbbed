"""Turn a yobYYYY.txt of the Social Security Administration into a file of names.

Enters: lines "Name,Sex,Count", as published (girls first, each sex by falling count). Leaves: the
names in that order, lower case, one a line; a name given to girls and to boys stands twice.

    python scripts/prepare_names.py yob2018.txt data/names.txt
"""

import hashlib
import sys
from pathlib import Path


def names(text: str) -> list[str]:
    r"""Return the names of a yob file, lower case, in the file's order.

    >>> names("Emma,F,18770\nLiam,M,19924\n")
    ['emma', 'liam']
    """
    found = []
    for number, line in enumerate(text.split(), start=1):
        match line.split(","):
            case [name, "F" | "M", count] if name.isalpha() and count.isdigit():
                found.append(name.lower())
            case _:
                raise ValueError(f"line {number} is not Name,F|M,Count but {line[:40]!r}")
    if not found:
        raise ValueError("there are no names in it")
    return found


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: python scripts/prepare_names.py yobYYYY.txt OUT.txt", file=sys.stderr)
        return 2
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        found = names(source.read_text("ascii"))
        data = "".join(name + "\n" for name in found).encode()
        target.write_bytes(data)
    except (OSError, ValueError) as error:
        print(f"prepare_names: {source}: {error}", file=sys.stderr)
        return 2
    distinct, digest = len(set(found)), hashlib.sha256(data).hexdigest()
    print(f"{target}: {len(found):,} names, {distinct:,} distinct, sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
