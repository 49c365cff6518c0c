import dataclasses
import functools
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jaxals import datasets
from jaxals.datasets import registry
from jaxals.errors import DataError
from tests.datasets.files import FILES, triples, unpack

pytestmark = pytest.mark.usefixtures("no_real_data")


class TestLookup:
    def test_path_of_the_file(self, tmp_path: Path) -> None:
        folder = unpack("lastfm-2k", tmp_path)
        assert len(datasets.load("lastfm-2k", folder / "user_artists.dat")) == 3

    def test_path_of_the_file_without_its_names(self, tmp_path: Path) -> None:
        folder = unpack("lastfm-2k", tmp_path)
        (folder / "artists.dat").unlink()
        with pytest.raises(DataError, match=r"Beside '.*user_artists\.dat' there is no 'artists\.dat', which belongs"):
            datasets.load("lastfm-2k", folder / "user_artists.dat")

    def test_path_that_leads_nowhere(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(DataError, match=r"neither a folder with ratings\.dat and movies\.dat of MovieLens 1M"):
                datasets.load("movielens-1m", path)

    @pytest.mark.parametrize("folder", [".", "lastfm-2k", "hetrec2011-lastfm-2k"])
    def test_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
        unpack("lastfm-2k", tmp_path / folder)
        monkeypatch.setenv("JAXALS_DATA", str(tmp_path))
        assert len(datasets.load("lastfm-2k")) == 3

    def test_environment_that_leads_nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JAXALS_DATA", str(tmp_path / "nowhere"))
        with pytest.raises(DataError, match=r"JAXALS_DATA names '.*nowhere', which is not a folder"):
            datasets.load("lastfm-2k")

    def test_path_beats_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JAXALS_DATA", str(unpack("lastfm-2k", tmp_path / "env")))
        folder = unpack("lastfm-2k", tmp_path / "path")
        (folder / "user_artists.dat").write_text("userID\tartistID\tweight\n1\t7\t1\n")
        assert len(datasets.load("lastfm-2k", folder)) == 1

    def test_unknown_name(self) -> None:
        with pytest.raises(
            DataError, match="no data set 'movielens-1M' \\(did you mean 'movielens-1m'\\?\\); there are l"
        ):
            datasets.load("movielens-1M")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    root = tmp_path / "server"
    root.mkdir()
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield root, f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


def publish(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> Path:
    """Put a small archive of the right shape on the server, and its address and checksum into the registry."""
    root, url = server
    info = registry.DATASETS[name]
    archive = root / info.url.rsplit("/", 1)[-1]
    if archive.suffix == ".gz":
        with tarfile.open(archive, "w:gz") as tar:
            for file in info.files:
                content = FILES[name][Path(file).name]
                member = tarfile.TarInfo(file)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    else:
        with zipfile.ZipFile(archive, "w") as zipped:
            for file in info.files:
                zipped.writestr(file, FILES[name][Path(file).name])
    checksum = "md5:" + hashlib.md5(archive.read_bytes()).hexdigest()
    changes = {"url": f"{url}/{archive.name}", "checksum": checksum} | changes
    changed = dataclasses.replace(info, **changes)
    monkeypatch.setitem(registry.DATASETS, name, changed)
    return archive


class TestDownload:
    @pytest.mark.parametrize("name", list(FILES))
    def test_download_then_cache(
        self,
        name: str,
        server: tuple[Path, str],
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        tmp_path: Path,
    ) -> None:
        archive = publish(server, monkeypatch, name)
        first = datasets.load(name)
        assert triples(first) == triples(datasets.load(name, unpack(name, tmp_path / "unpacked")))
        announced = capfd.readouterr().err
        info = datasets.info(name)
        assert f"Licence: {info.licence}" in announced
        assert f"Please cite: {info.citation}" in announced
        assert "100%" in announced  # the progress bar
        archive.unlink()
        assert triples(datasets.load(name)) == triples(first)
        assert "Licence" not in capfd.readouterr().err

    def test_wrong_checksum(self, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        publish(server, monkeypatch, "lastfm-2k", checksum="sha256:" + "0" * 64)
        with pytest.raises(
            DataError, match=r"does not match the checksum of HetRec.*, sha256:0{64}, and was thrown away"
        ):
            datasets.load("lastfm-2k")
        assert not list((tmp_path / "cache").rglob("*.zip"))
        assert not list((tmp_path / "cache").rglob("*.dat"))

    def test_damaged_cache_is_downloaded_again(
        self, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        publish(server, monkeypatch, "lastfm-2k")
        first = datasets.load("lastfm-2k")
        (cached,) = (tmp_path / "cache").rglob("*.zip")
        cached.write_bytes(b"cut off")
        assert triples(datasets.load("lastfm-2k")) == triples(first)

    def test_nothing_there(self, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
        publish(server, monkeypatch, "lastfm-2k", url=f"{server[1]}/gone.zip")
        with pytest.raises(DataError, match=r"HetRec 2011 .* could not be downloaded from .*/gone\.zip: 404"):
            datasets.load("lastfm-2k")

    @pytest.mark.parametrize("name", ["lastfm-2k", "lastfm-360k"])
    @pytest.mark.parametrize("content", ["garbage", "other files"])
    def test_unpublished_checksum_and_another_archive(
        self, name: str, content: str, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = publish(server, monkeypatch, name, checksum=None)
        if content == "garbage":
            archive.write_bytes(b"<html>moved</html>")
        elif name == "lastfm-2k":
            with zipfile.ZipFile(archive, "w") as zipped:
                zipped.writestr("readme.txt", "moved")
        else:
            tarfile.open(archive, "w:gz").close()
        with pytest.raises(DataError, match=r"The archive .* delete it"):
            datasets.load(name)

    def test_files_in_the_environment_need_no_download(
        self, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        publish(server, monkeypatch, "lastfm-2k", url=f"{server[1]}/gone.zip")
        monkeypatch.setenv("JAXALS_DATA", str(unpack("lastfm-2k", tmp_path / "data")))
        assert len(datasets.load("lastfm-2k")) == 3
        monkeypatch.setenv("JAXALS_DATA", str(tmp_path / "server"))
        with pytest.raises(DataError, match="could not be downloaded"):
            datasets.load("lastfm-2k")
