"""Finding, fetching and checking data files: the good day and every bad one."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pooch
import pytest
import requests

from equitutor.data import (
    SETS,
    ChecksumError,
    DataError,
    DataSet,
    DownloadError,
    File,
    fetch,
    fetch_all,
    locate,
)

GOOD = bytes(range(256)) * 600  # larger than one chunk of the download
BAD = b"not the published file"
SUM = hashlib.sha256(GOOD).hexdigest()
BAD_SUM = hashlib.sha256(BAD).hexdigest()
NAME = "toy/file.bin"


class Handler(BaseHTTPRequestHandler):
    """Answers the n-th request with the server's n-th reply, a function of this handler."""

    def do_GET(self):
        with self.server.lock:
            self.server.count += 1
            reply = self.server.replies.pop(0)
        reply(self)

    def log_message(self, *_):
        pass


def send(body, promise=None):
    """A reply of ``body`` under a header that promises ``promise`` bytes."""

    def reply(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(promise or len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def refuse(handler):
    handler.send_error(503)


def refuse_late(handler):
    time.sleep(0.05)
    refuse(handler)


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.lock, server.count, server.replies = threading.Lock(), 0, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server, path="file.bin"):
    return f"http://127.0.0.1:{server.server_port}/{path}"


def toy(*urls, checksum=f"sha256:{SUM}"):
    return DataSet("toy", "none", "none", (File("file.bin", len(GOOD), checksum, urls),))


@pytest.fixture
def cache(tmp_path, monkeypatch, server):
    """An empty cache, no data folder, and a set "toy" that the local server serves."""
    monkeypatch.setenv("EQUITUTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EQUITUTOR_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(SETS, "toy", toy(url(server)))
    return tmp_path / "cache"


def put(folder, body):
    path = folder / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    return path


def files(folder):
    """All files and folders below ``folder``, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_download_is_cached(cache, server, capsys):
    server.replies = [send(GOOD)]
    assert locate(NAME) is None
    path = fetch(NAME)
    assert path == cache / NAME == locate(NAME)
    assert path.read_bytes() == GOOD
    assert fetch(NAME) == path
    assert server.count == 1
    assert files(cache) == ["toy", NAME]
    assert NAME in capsys.readouterr().err  # the progress bar


def test_md5_where_only_that_is_published(cache, server, monkeypatch):
    md5 = hashlib.md5(GOOD).hexdigest()
    monkeypatch.setitem(SETS, "toy", toy(url(server), checksum=f"md5:{md5}"))
    server.replies = [send(BAD), send(GOOD)]
    assert fetch(NAME).read_bytes() == GOOD


def test_data_folder_comes_first(cache, server, tmp_path, monkeypatch):
    path = put(tmp_path / "data", GOOD)
    put(cache, GOOD)
    monkeypatch.setenv("EQUITUTOR_DATA", str(tmp_path / "data"))
    assert fetch(NAME) == path
    assert server.count == 0


def test_broken_data_folder_is_refused_and_untouched(cache, server, tmp_path, monkeypatch):
    path = put(tmp_path / "data", BAD)
    monkeypatch.setenv("EQUITUTOR_DATA", str(tmp_path / "data"))
    with pytest.raises(ChecksumError, match="is broken") as caught:
        fetch(NAME)
    assert SUM in str(caught.value)
    assert BAD_SUM in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == BAD
    assert server.count == 0


def test_data_folder_may_be_read_only(cache, server, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o555)
    monkeypatch.setenv("EQUITUTOR_DATA", str(data))
    server.replies = [send(GOOD)]
    assert fetch(NAME) == cache / NAME
    assert files(data) == []
    data.chmod(0o755)


def test_missing_data_folder(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("EQUITUTOR_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"EQUITUTOR_DATA is '.*nowhere', which is not a folder"):
        fetch(NAME)


def test_changed_file_is_checked_again(cache, tmp_path, monkeypatch):
    path = put(tmp_path / "data", GOOD)
    monkeypatch.setenv("EQUITUTOR_DATA", str(tmp_path / "data"))
    fetch(NAME)
    path.write_bytes(GOOD[::-1])  # same length
    os.utime(path, ns=(1, 1))
    with pytest.raises(ChecksumError):
        fetch(NAME)


def test_unchanged_file_is_read_once(cache, monkeypatch):
    path = put(cache, GOOD)
    hashed = []
    file_hash = pooch.file_hash
    monkeypatch.setattr(pooch, "file_hash", lambda p, alg: hashed.append(p) or file_hash(p, alg))
    fetch(NAME)
    fetch(NAME)
    assert hashed == [str(path)]


def test_broken_cache_is_fetched_again(cache, server):
    put(cache, BAD)
    server.replies = [send(GOOD)]
    assert fetch(NAME).read_bytes() == GOOD


def test_the_new_file_appears_in_one_step(cache, server):
    path = put(cache, BAD)
    server.replies = [send(GOOD)]
    with path.open("rb") as reader:
        fetch(NAME)
        assert reader.read() == BAD  # replaced under the reader, not written over
    assert path.read_bytes() == GOOD


def test_wrong_twice_is_refused_with_both_sums(cache, server):
    server.replies = [send(BAD), send(BAD)]
    with pytest.raises(ChecksumError, match="gave a wrong file") as caught:
        fetch(NAME)
    assert SUM in str(caught.value)
    assert BAD_SUM in str(caught.value)
    assert server.count == 2
    assert files(cache) == ["toy"]


def test_half_a_download_leaves_nothing(cache, server):
    server.replies = [send(GOOD[:100_000], promise=len(GOOD))] * 2
    with pytest.raises(DownloadError, match="connection broke before the file was whole"):
        fetch(NAME)
    assert files(cache) == ["toy"]


def test_half_a_download_then_a_whole_one(cache, server):
    server.replies = [send(GOOD[:100_000], promise=len(GOOD)), send(GOOD)]
    assert fetch(NAME).read_bytes() == GOOD
    assert files(cache) == ["toy", NAME]


def test_mirror_steps_in(cache, server, monkeypatch):
    monkeypatch.setitem(SETS, "toy", toy(url(server, "first"), url(server, "second")))
    server.replies = [refuse, send(GOOD)]
    assert fetch(NAME).read_bytes() == GOOD


def test_server_error_is_named(cache, server):
    server.replies = [refuse, refuse]
    with pytest.raises(DownloadError, match="the server answered 503"):
        fetch(NAME)


def test_no_network_names_two_ways_out(cache, monkeypatch):
    def unplugged(*_):
        raise requests.ConnectionError("unplugged")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", unplugged)
    with pytest.raises(DownloadError, match="no connection") as caught:
        fetch(NAME)
    assert f"put the file into the folder named by EQUITUTOR_DATA, as {NAME}" in str(caught.value)
    assert "python -m equitutor data fetch toy" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_network_and_a_broken_cache(cache, monkeypatch):
    def unplugged(*_):
        raise requests.ConnectionError("unplugged")

    put(cache, BAD)
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", unplugged)
    with pytest.raises(DownloadError, match=f"cached copy is broken: .*{BAD_SUM}.*no connection"):
        fetch(NAME)


def test_slow_server(cache, monkeypatch):
    def silent(*_):
        raise requests.ReadTimeout

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", silent)
    with pytest.raises(DownloadError, match="no answer in time"):
        fetch(NAME)


def test_no_address(cache, monkeypatch):
    monkeypatch.setitem(SETS, "toy", toy())
    with pytest.raises(DownloadError, match=r"no public address.*EQUITUTOR_DATA"):
        fetch(NAME)


def test_no_space_leaves_nothing(cache, monkeypatch):
    def full_disk(self, url, output_file, pooch):
        with open(output_file, "wb") as part:
            part.write(GOOD[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full_disk)
    with pytest.raises(DownloadError, match=r"no space left .* for toy/file.bin \(0.2 MB\)"):
        fetch(NAME)
    assert files(cache) == ["toy"]


def test_cache_that_is_not_a_folder(cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=r"could not be written .* set EQUITUTOR_CACHE"):
        fetch(NAME)


def test_two_processes_at_once(cache, server, tmp_path):
    both_are_waiting = threading.Barrier(2)

    def reply(handler):
        both_are_waiting.wait(timeout=60)
        send(GOOD)(handler)

    server.replies = [reply, reply]
    script = tmp_path / "fetch.py"
    script.write_text(
        "from equitutor.data import SETS, DataSet, File, fetch\n"
        f"SETS['toy'] = {SETS['toy']!r}\n"
        f"assert fetch({NAME!r}).stat().st_size == {len(GOOD)}\n"
    )
    pair = [subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate()[1].decode() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], errors
    assert server.count == 2
    assert (cache / NAME).read_bytes() == GOOD
    assert files(cache) == ["toy", NAME]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing/file.bin", "unknown data set 'nothing'; known: mnist, cifar10"),
        ("toy/other.bin", "toy has only these files: file.bin"),
        ("toy/../toy/file.bin", "toy has only these files: file.bin"),
        ("toy", "toy has only these files: file.bin"),
    ],
)
def test_unknown_names(cache, name, message):
    with pytest.raises(ValueError, match=message):
        fetch(name)


def test_name_has_to_be_text(cache):
    with pytest.raises(TypeError, match="has to be a str"):
        fetch(cache / NAME)


def many(server, n=20):
    """A set of n files in folders; the server gives every file the same content."""
    entries = tuple(
        File(f"{'ab'[i % 2]}/{i}.bin", len(GOOD), f"sha256:{SUM}", (url(server, f"{i}.bin"),))
        for i in range(n)
    )
    return DataSet("toy", "none", "none", entries)


def test_fetch_all(cache, server, monkeypatch, capsys):
    monkeypatch.setitem(SETS, "toy", many(server))
    server.replies = [send(GOOD)] * 20
    paths = fetch_all("toy")
    assert list(paths) == [file.name for file in SETS["toy"].files]
    assert all(path == cache / "toy" / name for name, path in paths.items())
    assert all(path.read_bytes() == GOOD for path in paths.values())
    assert server.count == 20
    assert "toy" in capsys.readouterr().err  # one progress bar, of files
    assert fetch_all("toy") == paths
    assert server.count == 20
    assert capsys.readouterr().err == ""
    assert files(cache) == sorted(["toy", "toy/a", "toy/b", *(f"toy/{name}" for name in paths)])


def test_fetch_a_part_of_a_set(cache, server, monkeypatch):
    monkeypatch.setitem(SETS, "toy", many(server))
    server.replies = [send(GOOD)] * 10
    assert list(fetch_all("toy", "b/")) == [f"b/{i}.bin" for i in range(1, 20, 2)]
    assert server.count == 10
    with pytest.raises(ValueError, match="folder is 'c/', but no file of toy has a name that"):
        fetch_all("toy", "c/")
    with pytest.raises(ValueError, match="unknown data set 'nothing'"):
        fetch_all("nothing")


def test_fetch_all_stops_at_a_failure_and_goes_on_later(cache, server, monkeypatch):
    monkeypatch.setitem(SETS, "toy", many(server, 60))
    server.replies = [send(GOOD)] + [refuse_late] * 119  # a busy machine has the time to stop
    with pytest.raises(DownloadError, match="the server answered 503"):
        fetch_all("toy")
    asked = server.count
    assert asked < 100  # the rest was not even asked for
    server.replies = [send(GOOD)] * 60
    assert len(fetch_all("toy")) == 60
    assert server.count == asked + 59


def test_names_of_a_large_set_do_not_fill_the_screen(cache, server, monkeypatch):
    monkeypatch.setitem(SETS, "toy", many(server, 60))
    with pytest.raises(ValueError, match=r"only these files: a/0\.bin, .*b/9\.bin and 50 more$"):
        fetch("toy/other.bin")


def test_every_entry_is_complete():
    for name, entry in SETS.items():
        assert entry.title, name
        assert entry.license.endswith("."), name
        for file in entry.files:
            algorithm, digest = file.checksum.split(":")
            assert len(digest) == {"sha256": 64, "md5": 32}[algorithm]
            assert file.size > 0
            base_name = file.name.rpartition("/")[2]
            assert all(address.endswith(f"/{base_name}") for address in file.urls)
        assert len({file.name for file in entry.files}) == len(entry.files) > 0
