"""The file of tokens: what it may say, who is known by it, and that it counts as it is now."""

import hmac
import logging

import pytest

from showcause.cli import main
from showcause.errors import PermissionDenied, Unauthenticated
from showcause.gateway.access import Access, TokenFileError, add_token, read_tokens

ONE = "animals-bcos"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.toml"


def test_a_token_is_known_by_its_hash_alone_and_by_whoever_may_read_the_file(path):
    token = add_token(path, "ward-7", [ONE], False)
    assert len(token) >= 43  # 256 bits
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    identity = Access(path).admit(f"bearer {token}")
    assert identity.may(ONE)
    assert not identity.may("animals-cnn")
    with pytest.raises(PermissionDenied, match="metrics"):
        identity.check_metrics()


def test_tokens_are_added_and_each_keeps_its_own_rights(path):
    path.write_text("# ours")  # without an end of line
    everything = add_token(path, "boss", None, True)
    metrics = add_token(path, "prometheus", [], True)
    access = Access(path)
    assert access.admit(f"Bearer {everything}").may("any")
    access.admit(f"Bearer {everything}").check_metrics()
    access.admit(f"Bearer {metrics}").check_metrics()
    assert not access.admit(f"Bearer {metrics}").may("any")


def test_without_a_file_everybody_may_do_everything():
    identity = Access().admit(None)
    identity.check("any")
    identity.check_metrics()


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer ", "Basic dXNlcg==", "Bearer wrong", "Bearer \xff\ud800"])
def test_no_token_and_wrong_ones_are_refused_without_an_echo(path, sent):
    token = add_token(path, "ward-7", None, False)
    with pytest.raises(Unauthenticated, match="allowed: Bearer TOKEN") as caught:
        Access(path).admit(sent)
    assert "wrong" not in caught.value.message
    for near in (token[:-1], token.swapcase(), token + "x"):
        with pytest.raises(Unauthenticated):
            Access(path).admit(f"Bearer {near}")


def test_whichever_token_it_is_all_are_compared(path, monkeypatch):
    tokens = [add_token(path, f"ward-{number}", None, False) for number in range(5)]
    access, compared = Access(path), []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: bool(compared.append(a)) or a == b)
    counts = []
    for token in (tokens[0], tokens[4], "wrong"):
        compared.clear()
        try:
            access.admit(f"Bearer {token}")
        except Unauthenticated:
            pass
        counts.append(len(compared))
    assert counts == [5, 5, 5]


def test_the_file_counts_as_it_is_now(path, caplog):
    caplog.set_level(logging.INFO)
    first = add_token(path, "first", None, False)
    access = Access(path)
    identity = access.admit(f"Bearer {first}")
    second = add_token(path, "second", None, False)
    assert access.admit(f"Bearer {second}").may(ONE), "added"
    kept = path.read_text()
    path.write_text(kept[kept.index("[second]") :])
    with pytest.raises(Unauthenticated, match="withdrawn"):
        identity.check(ONE)
    with pytest.raises(Unauthenticated):
        access.admit(f"Bearer {first}")
    path.write_text("")
    with pytest.raises(Unauthenticated):
        access.admit(f"Bearer {second}")


@pytest.mark.parametrize("change", [lambda path: path.write_text("[half"), lambda path: path.unlink()])
def test_a_broken_file_changes_nothing_and_is_told_once(path, caplog, change):
    token = add_token(path, "ward-7", None, False)
    access = Access(path)
    change(path)
    for _ in range(3):
        assert access.admit(f"Bearer {token}").may(ONE)
    (told,) = caplog.records
    assert str(path) in told.message
    assert "the tokens of before remain" in told.message
    path.unlink(missing_ok=True)
    new = add_token(path, "ward-8", None, False)
    assert access.admit(f"Bearer {new}").may(ONE)
    with pytest.raises(Unauthenticated):
        access.admit(f"Bearer {token}")


DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "x: not allowed; got 1; allowed: a table"),
        ("[x]", "x.sha256: not allowed; got ''; allowed: 64 hexadecimal digits"),
        ("[x]\nsha256 = 'secret'", "x.sha256: not allowed"),
        (f"[x]\nsha256 = '{DIGEST}'\nmodel = 'a'", "x: not allowed; got 'model'; allowed: sha256, models, metrics"),
        (f"[x]\nsha256 = '{DIGEST}'\nmodels = 'a'", "x.models: not allowed; got 'a'; allowed: a list of names"),
        (f"[x]\nsha256 = '{DIGEST}'\nmetrics = 1", "x.metrics: not allowed; got 1; allowed: true or false"),
        (f"[x]\nsha256 = '{DIGEST}'\n[y]\nsha256 = '{DIGEST.upper()}'", "y and x are the same token"),
        ("[x", "cannot be read"),
    ],
)
def test_what_a_file_may_not_say(path, text, said):
    path.write_text(text)
    with pytest.raises(TokenFileError) as caught:
        Access(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(path):
    with pytest.raises(TokenFileError, match="cannot be read"):
        Access(path)


def test_the_command_prints_the_token_and_keeps_its_hash(path, capsys):
    assert main(["token", "ward-7", "--models", "a, b", "--file", str(path)]) == 0
    out, told = capsys.readouterr()
    assert Access(path).admit(f"Bearer {out.strip()}").may("b")
    assert "not shown again" in told
    assert main(["token", "prometheus", "--metrics", "--file", str(path)]) == 0
    assert main(["token", "all", "--file", str(path)]) == 0
    grants = {grant.name: (grant.models, grant.metrics) for grant in read_tokens(path).values()}
    assert grants == {"ward-7": ({"a", "b"}, False), "prometheus": (frozenset(), True), "all": (None, False)}
    kept = path.read_text()
    for name, models in (("ward-7", "a"), ("no name", "a"), ("x", "a,,b"), ("x", '"]')):
        assert main(["token", name, "--models", models, "--file", str(path)]) == 1
    assert "already" in capsys.readouterr().err
    assert path.read_text() == kept
