"""What must never be in the repository, and what must be in order there."""

import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent

# Written apart, so that this file does not find itself.
SECRETS = {
    "a private key": "-----BEGIN (?:[A-Z]+ )*PRIVATE" + " KEY-----",
    "an access key of a cloud": r"\b(?:AKIA|ASIA|LTAI|AKID)" + r"[0-9A-Za-z]{16,}\b",
    "a token of a code host": r"\b(?:ghp|gho|ghs|github_pat|glpat)" + r"[_-][0-9A-Za-z_]{20,}\b",
}
MACHINE_PATHS = {
    "a path of one machine": r"(?<![\w.$}/-])/(?:root|work|Users" + r"|home)/\w[\w.-]*/",
}
# A lock or a document that names the host it came from sends every reader there.
PACKAGE_HOSTS = {
    "a package host": "|".join(
        f"{re.escape(host)}[.]{end}"
        for host, end in [
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("npmjs", "com"),
            ("yarnpkg", "com"),
            ("npmmirror", "com"),
            ("tuna.tsinghua.edu", "cn"),
            ("mirrors.aliyun", "com"),
            ("proxy.golang", "org"),
        ]
    ),
}


def tracked() -> list[Path]:
    """Every text file that a clone receives."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    paths = [TOP / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8000]]


def found(text: str, patterns: dict[str, str]) -> list[str]:
    return [
        f"{what}: {match.group()}"
        for what, pattern in patterns.items()
        for match in re.finditer(pattern, text)
    ]


@pytest.mark.parametrize(
    "patterns",
    [SECRETS, MACHINE_PATHS, PACKAGE_HOSTS],
    ids=["a secret", "a path of one machine", "a package host"],
)
def test_no_tracked_file_holds(patterns: dict[str, str]) -> None:
    holding = {
        path.relative_to(TOP).as_posix(): matches
        for path in tracked()
        if (matches := found(path.read_text(errors="replace"), patterns))
    }

    assert holding == {}


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("-----BEGIN RSA PRIVATE" + " KEY-----", SECRETS),
        ("-----BEGIN PRIVATE" + " KEY-----", SECRETS),
        ("id = AKIA" + "ABCDEFGHIJKLMNOP", SECRETS),
        ("token: ghp" + "_0123456789abcdefghij0123", SECRETS),
        ('open("/' + 'home/li/callme/config.toml")', MACHINE_PATHS),
        ("cd /" + "root/callme/", MACHINE_PATHS),
        ("--index-url https://pypi" + ".org/simple", PACKAGE_HOSTS),
        ('"resolved": "https://registry.npmjs' + '.org/vue"', PACKAGE_HOSTS),
    ],
)
def test_what_must_not_be_there_would_be_found(text: str, patterns: dict[str, str]) -> None:
    assert found(text, patterns) != []


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN PUBLIC KEY-----", "https://example.org/home/page/", "web/home/index.html"],
)
def test_what_may_be_there_is_not_found(text: str) -> None:
    assert found(text, SECRETS | MACHINE_PATHS | PACKAGE_HOSTS) == []


def test_decisions_are_numbered_without_gaps() -> None:
    pages = sorted(path.name for path in (TOP / "docs" / "decisions").iterdir())

    numbers = [page[:5] for page in pages]

    assert numbers == [f"{number:04}-" for number in range(1, len(pages) + 1)]


@pytest.mark.parametrize(
    "page", sorted((TOP / "docs/decisions").glob("*.md")), ids=lambda p: p.stem
)
def test_a_decision_tells_its_context_and_its_consequences(page: Path) -> None:
    text = page.read_text()

    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def pins(lock: str) -> set[str]:
    text = (TOP / "requirements" / lock).read_text()
    return set(re.findall(r"^([\w.-]+==\S+)", text, re.MULTILINE))


def test_what_is_tested_is_what_runs() -> None:
    assert pins("run.lock") - pins("dev.lock") == set()


@pytest.mark.parametrize("lock", ["run.lock", "dev.lock"])
def test_every_pin_carries_a_hash(lock: str) -> None:
    text = (TOP / "requirements" / lock).read_text()

    hashed = re.findall(r"^[\w.-]+==\S+ \\\n    --hash=sha256:", text, re.MULTILINE)

    assert len(hashed) == len(pins(lock)) > 0


def test_plain_make_lists_every_target_that_is_meant_for_people() -> None:
    makefile = (TOP / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):.*?(?:## .+)?$", makefile, re.MULTILINE)

    listed = subprocess.run(
        ["make", "--no-print-directory"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout

    assert [target for target in targets if f"make {target}" not in listed] == []
