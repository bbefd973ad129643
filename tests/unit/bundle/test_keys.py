"""Keys are private from the first byte, never overwritten, and never shown."""

import errno
import logging
import os
import signal
import stat
import sys

import pytest
from crypt4gh.keys import get_private_key, get_public_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ihdsi.bundle import keys
from ihdsi.errors import InputError

CREATE = {"signing": keys.create_signing_key, "transport": keys.create_transport_key}
LOAD = {"signing": keys.load_signing_key, "transport": keys.load_transport_key}
KINDS = pytest.mark.parametrize("kind", sorted(CREATE))


@pytest.fixture(autouse=True)
def no_passphrase(monkeypatch):
    monkeypatch.delenv(keys.PASSPHRASE_VARIABLE, raising=False)


def public_of(loaded):
    if isinstance(loaded, keys.TransportKey):
        return loaded.public
    return bytes.fromhex(loaded.public_key.keyval["public"])


@KINDS
@pytest.mark.parametrize("passphrase", [None, "a long sentence – ü"])
def test_a_created_key_loads_and_its_public_part_belongs_to_it(
    tmp_path, monkeypatch, kind, passphrase
):
    if passphrase:
        monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, passphrase)
    path = tmp_path / "site.key"
    public = CREATE[kind](path)
    prefix = {"signing": keys.SIGNING, "transport": keys.TRANSPORT}[kind]
    text = keys.public_key_text(public)
    assert public == tmp_path / "site.key.pub"
    assert keys.public_key_bytes(text, prefix) == public_of(LOAD[kind](path))


def test_other_software_reads_the_keys(tmp_path, monkeypatch):
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, "secret")
    signing, transport = tmp_path / "signing", tmp_path / "transport"
    keys.create_signing_key(signing)
    public = keys.create_transport_key(transport)
    with pytest.raises(TypeError):
        load_pem_private_key(signing.read_bytes(), None)
    load_pem_private_key(signing.read_bytes(), b"secret")
    loaded = keys.load_transport_key(transport)
    assert get_private_key(transport, lambda: "secret") == loaded.private
    assert get_public_key(public) == loaded.public


@KINDS
def test_the_private_file_is_0600_under_any_umask_from_its_creation(tmp_path, monkeypatch, kind):
    modes = []
    opened = os.open

    def spy(path, *arguments, **options):
        handle = opened(path, *arguments, **options)
        if ".site.key.creating-" in str(path) and not str(path).endswith(".pub"):
            modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return handle

    monkeypatch.setattr(os, "open", spy)
    old = os.umask(0)
    try:
        CREATE[kind](tmp_path / "site.key")
    finally:
        os.umask(old)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600


@KINDS
@pytest.mark.parametrize("existing", ["site.key", "site.key.pub"])
def test_existing_files_are_kept_and_nothing_is_left(tmp_path, kind, existing):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(InputError, match="never overwritten"):
        CREATE[kind](tmp_path / "site.key")
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "mine"


def create_and_die(kind, path, point, calls):
    """In a fork: die at one of the calls that change the disk; tell their names otherwise."""
    names = []

    def at(event, arguments):
        if event == "os.link" or event == "os.remove" or (event == "open" and arguments[2] & 3):
            names.append(event)
            if len(names) == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(at)
    CREATE[kind](path)
    os.write(calls, " ".join(names).encode())
    os._exit(0)


def in_a_fork(kind, path, point):
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            create_and_die(kind, path, point, writer)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as stream:
        names = stream.read().split()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), names


@KINDS
def test_killed_at_any_call_the_next_one_completes_or_says_what_to_remove(tmp_path, kind):
    status, names = in_a_fork(kind, tmp_path / "whole", 0)
    assert status == 0
    assert names == ["open"] * 4 + ["os.link"] * 2 + ["os.remove"] * 2
    refused = []
    for point in range(1, len(names) + 1):
        path = tmp_path / str(point) / "site.key"
        path.parent.mkdir()
        assert in_a_fork(kind, path, point)[0] == -signal.SIGKILL
        public = path.with_name("site.key.pub")
        if public.exists() and not path.exists():
            refused.append(names[point - 1])
            with pytest.raises(InputError, match=r"interrupted here, remove site\.key\.pub"):
                CREATE[kind](path)
            public.unlink()
        if path.exists():
            # Whole already: it is used as it is, and never overwritten.
            with pytest.raises(InputError, match="Choose another name"):
                CREATE[kind](path)
        else:
            CREATE[kind](path)
        prefix = {"signing": keys.SIGNING, "transport": keys.TRANSPORT}[kind]
        found = keys.public_key_bytes(keys.public_key_text(public), prefix)
        assert found == public_of(LOAD[kind](path))
        assert {entry.name for entry in path.parent.iterdir()} == {"site.key", "site.key.pub"}
    assert refused == ["os.link"]


@KINDS
def test_a_file_system_without_second_names(tmp_path, monkeypatch, kind):
    def link(*arguments, **options):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "site.key"
    CREATE[kind](path)
    LOAD[kind](path)
    with pytest.raises(InputError, match="never overwritten"):
        CREATE[kind](path)
    assert {entry.name for entry in tmp_path.iterdir()} == {"site.key", "site.key.pub"}


@KINDS
def test_a_dangling_link_is_not_followed(tmp_path, kind):
    (tmp_path / "site.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="never overwritten"):
        CREATE[kind](tmp_path / "site.key")
    assert not (tmp_path / "elsewhere").exists()


@KINDS
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_open_to_others_is_refused(tmp_path, kind, mode):
    path = tmp_path / "site.key"
    CREATE[kind](path)
    LOAD[kind](path)
    path.chmod(mode)
    with pytest.raises(InputError, match="chmod 600") as error:
        LOAD[kind](path)
    assert len(error.value.problems) == 1


@KINDS
def test_a_missing_or_wrong_passphrase_is_one_error_without_the_passphrase(
    tmp_path, monkeypatch, kind
):
    path = tmp_path / "site.key"
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, "right")
    CREATE[kind](path)
    LOAD[kind](path)
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, "wrong-one")
    with pytest.raises(InputError, match="does not open") as error:
        LOAD[kind](path)
    assert "wrong-one" not in str(error.value)
    monkeypatch.delenv(keys.PASSPHRASE_VARIABLE)
    with pytest.raises(InputError, match="is encrypted"):
        LOAD[kind](path)
    monkeypatch.setenv(keys.PASSPHRASE_VARIABLE, "")
    with pytest.raises(InputError, match="is empty"):
        CREATE[kind](tmp_path / "other.key")


@KINDS
def test_what_is_no_such_key_is_refused(tmp_path, kind):
    other = {"signing": "transport", "transport": "signing"}[kind]
    CREATE[other](tmp_path / "other")
    rsa = generate_private_key(65537, 2048)
    contents = {
        "empty": b"",
        "text": b"not a key",
        "rsa": rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "large": b"x" * (keys.MAXIMUM_KEY_BYTES + 1),
        "cut": b"-----BEGIN CRYPT4GH PRIVATE KEY-----\nYzRnaC12MQAE\n"
        b"-----END CRYPT4GH PRIVATE KEY-----\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for name in (*contents, "other", "pipe", "folder", "absent"):
        with pytest.raises(InputError):
            LOAD[kind](tmp_path / name)


def test_a_private_key_is_not_published(tmp_path):
    for kind, create in CREATE.items():
        create(tmp_path / kind)
        with pytest.raises(InputError, match=r"\.pub"):
            keys.public_key_text(tmp_path / kind)


def test_no_key_material_in_logs_output_or_repr(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    keys.create_transport_key(tmp_path / "site.key")
    loaded = keys.load_transport_key(tmp_path / "site.key")
    shown = caplog.text + "".join(capfd.readouterr()) + repr(loaded)
    assert loaded.private.hex() not in shown.lower()
    assert repr(loaded.private) not in shown
    assert not caplog.records


@pytest.mark.parametrize(
    "text",
    ["ed25519:", "x25519:" + "A" * 43 + "=", "ed25519:" + "A" * 42 + "B=", "ed25519:é", "AAAA"],
)
def test_one_line_keys_are_exact(text):
    keys.public_key_bytes("ed25519:" + "A" * 43 + "=", keys.SIGNING)
    with pytest.raises(ValueError, match="public key"):
        keys.public_key_bytes(text, keys.SIGNING)
