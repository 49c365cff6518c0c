import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxals import Interactions, datasets
from jaxals.datasets import registry
from jaxals.errors import DataError, MissingDependencyError
from tests.datasets.files import triples, unpack

pytestmark = pytest.mark.usefixtures("no_real_data")


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
