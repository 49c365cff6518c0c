import dataclasses
import functools
import hashlib
import http.server
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pooch
import pytest

from jaxals import Interactions, datasets
from jaxals.datasets import registry
from jaxals.errors import DataError, MissingDependencyError

FILES: dict[str, dict[str, bytes]] = {
    "lastfm-360k": {
        "usersha1-artmbid-artname-plays.tsv": (
            b'f00\tm1\tAir\t5\nf00\tm2\t"Weird Al" Yankovic\t2\nf00\t\tNA\t4\n'
            b"f00\tm4\t\t9\nf11\tm3\tAir\t7\nf11\tm1\tAir\t1\nf11\t\tZero\t0\nf22\tm5\tMoby\t0\n"
        )
    },
    "lastfm-2k": {
        "user_artists.dat": b"userID\tartistID\tweight\r\n2\t51\t10\r\n2\t7\t3\r\n10\t51\t1\r\n",
        "artists.dat": 'id\tname\turl\tpictureURL\n7\tBjörk "B"\tu\tp\n51\tAir\tu\tp\n9\tnobody\'s\tu\n'.encode(),
    },
    "movielens-100k": {
        "u.data": b"2\t1\t5\t881250949\n1\t3\t3\t891717742\n2\t2\t4\t1\n",
        "u.item": "1|Amélie (2001)|x|\x85\n2|Chasing Amy (1997)||\n3|Chasing Amy (1997)||\n".encode("latin-1"),
    },
    "movielens-1m": {
        "ratings.dat": b"2::1::5::978300760\n1::3::3::1\n2::2::4::1\n",
        "movies.dat": "1::Amélie (2001)::Drama\n2::Chasing Amy (1997)::A\n3::Chasing Amy (1997)::A\n".encode("latin-1"),
    },
    "movielens-20m": {
        "ratings.csv": b"userId,movieId,rating,timestamp\n2,1,5.0,1\n1,3,3.0,1\n2,2,4.0,1\n",
        "movies.csv": (
            'movieId,title,genres\n1,Amélie (2001),x\n2,"Chasing Amy (1997)",x\n3,Chasing Amy (1997),"x"\n'
        ).encode(),
    },
}


@pytest.fixture(autouse=True)
def no_real_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAXALS_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> str:
    if not REAL or not os.path.isdir(REAL):
        pytest.skip("JAXALS_DATA names no folder with real data")
    monkeypatch.setenv("JAXALS_DATA", REAL)
    return REAL


REAL = os.environ.get("JAXALS_DATA")


def unpack(name: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in FILES[name].items():
        (folder / file).write_bytes(content)
    return folder


def triples(data: Interactions) -> list[tuple]:
    return sorted(data.to_frame().itertuples(index=False, name=None))


class TestReaders:
    def test_lastfm_360k(self, tmp_path: Path) -> None:
        folder = unpack("lastfm-360k", tmp_path)
        assert triples(datasets.load("lastfm-360k", folder)) == [
            ("f00", '"Weird Al" Yankovic', 2.0),
            ("f00", "Air", 5.0),
            ("f00", "NA", 4.0),
            ("f11", "Air", 8.0),
        ]
        data = datasets.load("lastfm-360k", folder, ids="raw")
        assert triples(data) == [
            ("f00", "m1", 5.0),
            ("f00", "m2", 2.0),
            ("f00", "m4", 9.0),
            ("f11", "m1", 1.0),
            ("f11", "m3", 7.0),
        ]
        # Neither the user nor the artists with nothing but 0 plays.
        assert data.shape == (2, 4)

    def test_lastfm_360k_names_the_broken_line(self, tmp_path: Path) -> None:
        path = unpack("lastfm-360k", tmp_path) / "usersha1-artmbid-artname-plays.tsv"
        path.write_bytes(path.read_bytes() + b"f33\tm1\tAir\n")
        with pytest.raises(DataError, match=r"^Line 9 of .* has 3 fields instead of 4\.$"):
            datasets.load("lastfm-360k", tmp_path)

    def test_lastfm_2k(self, tmp_path: Path) -> None:
        folder = unpack("lastfm-2k", tmp_path)
        raw = datasets.load("lastfm-2k", folder, ids="raw")
        assert triples(raw) == [(2, 7, 3.0), (2, 51, 10.0), (10, 51, 1.0)]
        names = datasets.load("lastfm-2k", folder)
        assert triples(names) == [(2, "Air", 10.0), (2, 'Björk "B"', 3.0), (10, "Air", 1.0)]
        (folder / "artists.dat").write_text("id\tname\n7\n")
        with pytest.raises(DataError, match=r"^Line 2 of .*artists\.dat is not an integer id and a name\.$"):
            datasets.load("lastfm-2k", folder)

    @pytest.mark.parametrize(
        ("name", "file", "content", "fault"),
        [
            ("lastfm-2k", "artists.dat", b"id\tname\n7\t\xff\n", "'utf-8' codec can't decode"),
            (
                "movielens-20m",
                "movies.csv",
                b"movieId,title\n1," + b"x" * 140_000 + b"\n",
                "field larger than field limit",
            ),
        ],
    )
    def test_names_that_cannot_be_read(self, tmp_path: Path, name: str, file: str, content: bytes, fault: str) -> None:
        folder = unpack(name, tmp_path)
        (folder / file).write_bytes(content)
        with pytest.raises(DataError, match=f"{file} cannot be read as a table of names: {fault}"):
            datasets.load(name, folder)

    @pytest.mark.parametrize("name", ["movielens-100k", "movielens-1m", "movielens-20m"])
    def test_movielens(self, tmp_path: Path, name: str) -> None:
        folder = unpack(name, tmp_path)
        assert triples(datasets.load(name, folder, ids="raw")) == [(1, 3, 3.0), (2, 1, 5.0), (2, 2, 4.0)]
        assert triples(datasets.load(name, folder)) == [
            (1, "Chasing Amy (1997) [3]", 3.0),
            (2, "Amélie (2001)", 5.0),
            (2, "Chasing Amy (1997) [2]", 4.0),
        ]

    @pytest.mark.parametrize("kind", ["xlsx", "parquet"])
    def test_online_retail(self, tmp_path: Path, kind: str) -> None:
        pytest.importorskip("openpyxl" if kind == "xlsx" else "pyarrow")
        rows = [
            ("85123A", "HOLDER ", 6, 17850.0),
            ("85123A", "HOLDER", -6, 17850.0),  # sent back: counts as chosen once
            (71053, "LANTERN", 3, 17850.0),
            (71053, "wrong", 1, 13047.0),
            (71053, "LANTERN", 4, 13047.0),
            (22, "LANTERN", 2, 13047.0),
            ("POST", None, 1, 13047.0),
            ("84406B", "HANGER", -2, 13047.0),  # sent back only: dropped
            ("84406B", "HANGER", 9, None),  # nobody's: dropped
        ]
        frame = pd.DataFrame(rows, columns=["StockCode", "Description", "Quantity", "CustomerID"])
        frame.insert(0, "InvoiceNo", "536365")
        if kind == "xlsx":
            frame.to_excel(tmp_path / "Online Retail.xlsx", index=False)
        else:
            frame.astype({"StockCode": str}).to_parquet(tmp_path / "online_retail_uci.parquet")
        raw = datasets.load("online-retail", tmp_path, ids="raw")
        assert triples(raw) == [
            (13047, "22", 2.0),
            (13047, "71053", 5.0),
            (13047, "POST", 1.0),
            (17850, "71053", 3.0),
            (17850, "85123A", 1.0),
        ]
        names = datasets.load("online-retail", tmp_path)
        assert names.catalog.items.tolist() == ["LANTERN [22]", "LANTERN [71053]", "HOLDER", "POST"]
        np.testing.assert_array_equal(names.item, raw.item)

    def test_online_retail_of_other_columns(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        pd.DataFrame({"StockCode": ["a"]}).to_parquet(tmp_path / "online_retail_uci.parquet")
        with pytest.raises(DataError, match="cannot be read as Online Retail with columns"):
            datasets.load("online-retail", tmp_path)

    def test_excel_needs_openpyxl(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "Online Retail.xlsx"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("xl/workbook.xml", "<workbook/>")
        monkeypatch.setitem(sys.modules, "openpyxl", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'jaxals\[excel\]'"):
            datasets.load("online-retail", path)


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


class TestRegistry:
    def test_every_data_set_is_described(self) -> None:
        assert datasets.names() == list(registry.DATASETS)
        for name in datasets.names():
            info = datasets.info(name)
            assert info.name == name
            assert info.url.startswith("https://")
            assert info.licence
            assert info.citation
            assert set(FILES.get(name, {})) <= {Path(file).name for file in info.files}
            digits = {"md5": 32, "sha256": 64}
            assert info.checksum is not None
            kind, digest = info.checksum.split(":")
            assert re.fullmatch(f"[0-9a-f]{{{digits[kind]}}}", digest)

    def test_frozen(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            datasets.info("lastfm-2k").url = "elsewhere"  # type: ignore[misc]

    def test_import_is_light(self) -> None:
        code = "import sys, jaxals.datasets; sys.exit(bool({'pooch', 'requests', 'openpyxl'} & set(sys.modules)))"
        subprocess.run([sys.executable, "-c", code], check=True)


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


class TestRealData:
    def test_lastfm_360k_format(self, real_data: str, lastfm_2k: Interactions) -> None:
        data = datasets.load("lastfm-360k")
        assert data.shape == (1892, 17632)
        assert len(data) == 92834
        # The same counts as HetRec's, by artist name; its users have other names.
        assert data.value.sum(dtype=float) == lastfm_2k.value.sum(dtype=float)
        assert sorted(data.catalog.items) == sorted(lastfm_2k.catalog.items)
        # Bare quotes, on 39 rows, swallow nothing.
        quoted = [name for name in data.catalog.items if '"' in name]
        assert data.counts("item")[data.catalog.item_indices(quoted)].sum() == 39
        order = lastfm_2k.catalog.item_indices(data.catalog.items)
        np.testing.assert_array_equal(data.counts("item"), lastfm_2k.counts("item")[order])

    def test_lastfm_360k_format_by_mbid(self, real_data: str) -> None:
        data = datasets.load("lastfm-360k", ids="raw")
        assert all(len(mbid) == 36 for mbid in data.catalog.items)
        assert len(data) < 92834

    def test_lastfm_2k(self, real_data: str, lastfm_2k: Interactions) -> None:
        raw = datasets.load("lastfm-2k", ids="raw")
        assert raw.shape == lastfm_2k.shape == (1892, 17632)
        assert len(raw) == len(lastfm_2k) == 92834
        assert raw.value.max() == 352698
        np.testing.assert_array_equal(raw.item, lastfm_2k.item)
        assert lastfm_2k.catalog.items[raw.catalog.item_indices([51])].tolist() == ["Duran Duran"]

    @pytest.mark.parametrize("ids", ["names", "raw"])
    def test_online_retail(self, real_data: str, ids: registry.IdKind) -> None:
        data = datasets.load("online-retail", ids=ids)
        assert data.shape == (4338, 3664)
        assert len(data) == 266723
        assert data.value.min() == 1
        known = {"names": "WHITE HANGING HEART T-LIGHT HOLDER", "raw": "85123A"}[ids]
        assert data.counts("item")[data.catalog.item_indices([known])].tolist() == [856]
