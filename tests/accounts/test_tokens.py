"""The JWT face: whatever was not made by us, for this purpose, in this life, is refused."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest

from accounts.model import SessionExpired
from accounts.tokens import AUDIENCE, ISSUER, TOKEN_MAX_BYTES, Tokens
from tests.clock import Clock

SECRET = "a secret of the tests, long enough to sign with"
HOURS_12 = 43_200
JTI = "5a" * 32


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(SECRET, max_s=HOURS_12, now=clock.now)


@pytest.fixture
def token(tokens: Tokens, clock: Clock) -> str:
    return tokens.issue(
        key_hash=JTI,
        account_id=7,
        created_at=clock.now(),
        ends_at=clock.now() + HOURS_12 * 1000,
    )


def claims_of(clock: Clock, **changes: Any) -> dict[str, Any]:
    now_s = clock.now() // 1000
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "7",
        "iat": now_s,
        "exp": now_s + HOURS_12,
        "jti": JTI,
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def signed(claims: dict[str, Any], **options: Any) -> str:
    return jwt.encode(claims, SECRET, algorithm="HS256", **options)


def part(value: object) -> str:
    return base64url(json.dumps(value).encode())


def hmac_of(text: str, key: bytes) -> str:
    return base64url(hmac.digest(key, text.encode(), hashlib.sha256))


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_token_comes_back_as_what_it_was_made_of(tokens: Tokens, token: str) -> None:
    claims = tokens.read(token)

    assert (claims.jti, claims.sub) == (JTI, "7")
    assert len(token) < 400


def test_the_attacks_below_differ_from_a_good_token_in_one_thing(
    tokens: Tokens, clock: Clock
) -> None:
    assert tokens.read(signed(claims_of(clock))).jti == JTI


def test_every_single_changed_bit_is_seen(tokens: Tokens, token: str) -> None:
    accepted = []

    for place, character in enumerate(token):
        for bit in range(8):
            changed = token[:place] + chr(ord(character) ^ 1 << bit) + token[place + 1 :]
            try:
                tokens.read(changed)
            except SessionExpired:
                continue
            accepted.append((place, bit))

    assert accepted == []


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "callme:password-reset"},
        {"aud": [AUDIENCE, "other"]},
        {"aud": None},
        {"iss": "somebody"},
        {"iss": None},
        {"sub": None},
        {"sub": "-7"},
        {"sub": "seven"},
        {"sub": 7},
        {"iat": None},
        {"iat": 1.5},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"jti": None},
        {"jti": JTI.upper()},
        {"jti": JTI[:-1]},
        {"jti": 5},
        {"role": "admin"},
    ],
    ids=str,
)
def test_a_signed_token_with_other_claims_is_refused(
    tokens: Tokens, clock: Clock, changes: dict[str, Any]
) -> None:
    with pytest.raises(SessionExpired):
        tokens.read(signed(claims_of(clock, **changes)))


@pytest.mark.parametrize("extra_s", [1, 60, 86_400 * 36_500])
def test_a_life_longer_than_ours_is_refused(tokens: Tokens, clock: Clock, extra_s: int) -> None:
    claims = claims_of(clock)

    with pytest.raises(SessionExpired):
        tokens.read(signed(claims | {"exp": claims["exp"] + extra_s}))


def test_a_token_that_ends_before_it_begins_is_refused(tokens: Tokens, clock: Clock) -> None:
    claims = claims_of(clock)

    with pytest.raises(SessionExpired):
        tokens.read(signed(claims | {"iat": claims["exp"] + 1}))


def test_a_token_ends_with_its_second_by_our_clock(
    tokens: Tokens, token: str, clock: Clock
) -> None:
    clock.advance(seconds=HOURS_12)
    assert tokens.read(token).jti == JTI

    clock.advance(seconds=1)
    with pytest.raises(SessionExpired):
        tokens.read(token)


def test_a_clock_that_went_back_refuses_nobody(tokens: Tokens, token: str, clock: Clock) -> None:
    clock.advance(hours=-3)

    assert tokens.read(token).jti == JTI


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "NONE", "", "HS256"])
@pytest.mark.parametrize("signature", ["", "AA", "e30"])
def test_a_token_without_our_signature_is_refused(
    tokens: Tokens, clock: Clock, alg: str, signature: str
) -> None:
    forged = f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims_of(clock))}.{signature}"

    with pytest.raises(SessionExpired):
        tokens.read(forged)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_the_right_secret_with_another_algorithm_is_refused(
    tokens: Tokens, clock: Clock, algorithm: str
) -> None:
    forged = jwt.encode(claims_of(clock), SECRET.ljust(64), algorithm=algorithm)

    with pytest.raises(SessionExpired):
        tokens.read(forged)


@pytest.mark.parametrize("alg", ["RS256", "ES256", "PS256", "EdDSA"])
def test_a_token_of_a_public_key_algorithm_is_refused(
    tokens: Tokens, clock: Clock, alg: str
) -> None:
    """Also when its signature is ours, for whoever lets the header choose the algorithm."""
    text = f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims_of(clock))}"

    with pytest.raises(SessionExpired):
        tokens.read(f"{text}.{hmac_of(text, SECRET.encode())}")


def test_our_algorithm_keyed_with_a_public_key_is_refused(tokens: Tokens, clock: Clock) -> None:
    """What a server with a public key in the place of its secret would accept."""
    text = signed(claims_of(clock)).rpartition(".")[0]
    public_key = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"

    with pytest.raises(SessionExpired):
        tokens.read(f"{text}.{hmac_of(text, public_key)}")


@pytest.mark.parametrize("secret", ["another secret, which is long enough too!", SECRET + " "])
def test_another_secret_is_refused(tokens: Tokens, clock: Clock, secret: str) -> None:
    with pytest.raises(SessionExpired):
        tokens.read(jwt.encode(claims_of(clock), secret, algorithm="HS256"))


@pytest.mark.parametrize(
    "headers",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "' UNION SELECT 'x"},
        {"jku": "http://127.0.0.1/keys"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"x5u": "http://127.0.0.1/cert"},
        {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
        {"typ": "at+jwt"},
        {"cty": "JWT"},
    ],
    ids=str,
)
def test_a_header_that_is_not_ours_is_refused_even_if_signed(
    tokens: Tokens, clock: Clock, headers: dict[str, Any]
) -> None:
    with pytest.raises(SessionExpired):
        tokens.read(signed(claims_of(clock), headers=headers))


def test_another_spelling_of_a_good_token_is_refused(tokens: Tokens, token: str) -> None:
    unsigned = token.rpartition(".")[0]
    spellings = [
        "",
        ".",
        "..",
        unsigned,
        unsigned + ".",
        token + ".e30",
        token + "=",
        token + "A",
        " " + token,
        token + "\n",
        token.replace(".", ". "),
        token + "é",
        token + "\ud800",
        token + "\0",
        "Bearer " + token,
        token.swapcase(),
        token[::-1],
        token * 2,
    ]

    for spelling in spellings:
        with pytest.raises(SessionExpired):
            tokens.read(spelling)


def test_a_signed_payload_that_is_no_object_is_refused(tokens: Tokens) -> None:
    for payload in (b"[]", b"7", b"null", b"{", b"\xff"):
        forged = jwt.PyJWS().encode(payload, SECRET.encode(), algorithm="HS256")

        with pytest.raises(SessionExpired):
            tokens.read(forged)


def test_a_token_over_four_kilobytes_is_not_looked_at(tokens: Tokens, clock: Clock) -> None:
    forged = signed(claims_of(clock, sub="7" * 4000))
    assert len(forged) > TOKEN_MAX_BYTES

    with pytest.raises(SessionExpired):
        tokens.read(forged)


def test_a_short_secret_is_refused_at_the_start(clock: Clock) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Tokens("x" * 31, max_s=1, now=clock.now)

    Tokens("钥" * 11, max_s=1, now=clock.now)
