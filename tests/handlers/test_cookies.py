"""The console's cookies."""

from handlers import cookies


def test_the_session_is_hidden_from_scripts_and_its_second_half_is_not() -> None:
    session, xsrf = cookies.sign_in("abc", max_age_s=60, secure=True)

    assert session == (
        "Set-Cookie",
        "callme_session=abc; Path=/; Max-Age=60; SameSite=Strict; HttpOnly; Secure",
    )
    assert "HttpOnly" not in xsrf[1]
    assert xsrf[1].startswith(f"callme_xsrf={cookies.xsrf_token('abc')}; ")
    assert all("Max-Age=0" in value for _, value in cookies.sign_out(secure=False))


def test_the_token_is_found_among_other_cookies() -> None:
    assert cookies.session_token("a=b;callme_session= abc ; c") == "abc"
    assert cookies.session_token("xcallme_session=abc") == ""
    assert cookies.session_token("") == ""


def test_the_second_half_fits_one_session_only() -> None:
    assert cookies.is_ours("abc", cookies.xsrf_token("abc"))
    assert not cookies.is_ours("abd", cookies.xsrf_token("abc"))
    assert not cookies.is_ours("abc", "")
    assert not cookies.is_ours("abc", "é你")
