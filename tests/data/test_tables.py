import bz2
import functools
import gzip
import lzma
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxals.data import tables
from jaxals.data.columns import require_columns
from jaxals.data.interactions import Interactions
from jaxals.data.tables import read_table
from jaxals.errors import DataError, MissingDependencyError
from jaxals.evaluation import temporal_split

NAMES = ["u", "i", "v"]


def write(folder: Path, text: str, name: str = "plays.tsv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def read(
    path: Path, names: list[str] | None = None, value: str | None = "v", missing: Any = "error"
) -> dict[str, list]:
    return read_table(path, "u", "i", value, names=names, missing=missing).to_dict("list")  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", "u\ti\tv\nann\tAir\t3\nbob\tMoby\t1.5\n"),
        ("a.csv", "u,i,v\nann,Air,3\nbob,Moby,1.5\n"),
        ("a.txt", "u\ti\tv\nann\tAir\t3\nbob\tMoby\t1.5"),
        ("a.dat", "u::i::v\nann::Air::3\nbob::Moby::1.5\n"),
        ("a.data", "u,i,v\r\nann,Air,3\r\n\r\nbob,Moby,1.5\r\n"),
        ("a.TSV", "\n\nu\ti\tv\nann\tAir\t3\nbob\tMoby\t1.5\n\n"),
        ("bom.csv", "\ufeffu,i,v\nann,Air,3\nbob,Moby,1.5\n"),
        ("order.csv", "when,v,i,note,u\n1,3,Air,x,ann\n2,1.5,Moby,y,bob\n"),
        ("trailing.csv", "u,i,v\nann,Air,3,\nbob,Moby,1.5\n"),
        ("empty last column.csv", "u,i,v,note\nann,Air,3,\nbob,Moby,1.5,x\n"),
    ],
)
def test_text_files(tmp_path: Path, name: str, text: str) -> None:
    assert read(write(tmp_path, text, name)) == {"u": ["ann", "bob"], "i": ["Air", "Moby"], "v": [3.0, 1.5]}


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_compressed(tmp_path: Path, module: Any) -> None:
    suffix = {gzip: "gz", bz2: "bz2", lzma: "xz"}[module]
    path = tmp_path / f"plays.csv.{suffix}"
    path.write_bytes(module.compress(b'u,i,v\nann,"Air, France",3\n'))
    assert read(path) == {"u": ["ann"], "i": ["Air, France"], "v": [3.0]}
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=f"plays.csv.{suffix} cannot be read; it may be damaged"):
        read(path)


def test_damaged_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged"):
        read(write(tmp_path, "this is no archive", "plays.tsv.gz"))


def test_only_commas_quote(tmp_path: Path) -> None:
    quoted = write(tmp_path, 'u,i,v\nann,"Tyler, The Creator",3\nbob,"12"" mix\nB side",1\n', "a.csv")
    assert read(quoted)["i"] == ["Tyler, The Creator", '12" mix\nB side']
    bare = write(tmp_path, 'u\ti\tv\nann\t"Weird Al\t3\nbob\tsome "thing" else\t1\n')
    assert read(bare)["i"] == ['"Weird Al', 'some "thing" else']


def test_ids_stay_what_they_are(tmp_path: Path) -> None:
    def ids(*written: str) -> list:
        text = "".join(f"{raw}\tx\t1\n" for raw in written)
        return read(write(tmp_path, text), names=NAMES)["u"]

    assert ids("1", "10", "9", "-3", "0") == [1, 10, 9, -3, 0]
    assert ids("007", "8") == ["007", "8"]
    assert ids("1", "2.0", "1e3") == ["1", "2.0", "1e3"]
    assert ids("1", "abc") == ["1", "abc"]
    assert ids("9" * 19, "1") == [10**19 - 1, 1]
    assert ids("9" * 20, "1") == ["9" * 20, "1"]
    assert ids("9" * 19, "-1") == ["9" * 19, "-1"]
    assert ids(str(2**63 - 1), str(-(2**63))) == [2**63 - 1, -(2**63)]
    assert ids("NA", "null", "nan", "None", "-0") == ["NA", "null", "nan", "None", "-0"]
    assert ids(" 1", "True") == [" 1", "True"]


def test_integer_ids_sort_as_integers(tmp_path: Path) -> None:
    data = Interactions.from_file(write(tmp_path, "10\tb\t1\n9\ta\t1\n"), "u", "i", "v", names=NAMES)
    assert data.catalog.users.tolist() == [9, 10]
    assert data.catalog.items.tolist() == ["a", "b"]
    assert not isinstance(data.catalog.users, pd.CategoricalIndex)
    assert data.to_frame().to_dict("list") == {"user": [9, 10], "item": ["a", "b"], "value": [1.0, 1.0]}


def test_without_value(tmp_path: Path) -> None:
    path = write(tmp_path, "u\ti\nann\tAir\nann\tAir\n")
    assert read(path, value=None) == {"u": ["ann", "ann"], "i": ["Air", "Air"]}
    assert Interactions.from_file(path, "u", "i", None).value.tolist() == [2.0]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("ann\tAir", "has 2 fields instead of 3"),
        ("ann", "has 1 field instead of 3"),
        ("ann\tAir\t3\t4", "has 4 fields instead of 3"),
        ("ann\tAir\t3\t4\t5\t6", "has 6 fields instead of 3"),
        ("ann\tAir\tmany", "has 'many' in column 'v', which is not a finite number"),
        ("ann\tAir\t", "has '' in column 'v', which is not a finite number"),
        ("ann\tAir\tnan", "has 'nan' in column 'v', which is not a finite number"),
        ("ann\tAir\t-inf", "has '-inf' in column 'v', which is not a finite number"),
        ("ann\tAir\t1e999", "has '1e999' in column 'v', which is not a finite number"),
        ("ann\tAir\t1_000", "has '1_000' in column 'v', which is not a finite number"),
        ("\tAir\t3", "has no id in column 'u'"),
        ("ann\t\t3", "has no id in column 'i'"),
    ],
)
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("before", [0, 5])
def test_broken_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, fault: str, header: bool, before: int
) -> None:
    monkeypatch.setattr(tables, "_CHUNK_ROWS", 2)
    good = "bob\tMoby\t1\n"
    # One blank line is skipped and still counted.
    text = "u\ti\tv\n" * header + good * before + "\n" + line + "\n" + good
    path = write(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read(path, names=None if header else NAMES)
    assert str(caught.value) == f"Line {header + before + 2} of {path} {fault}."
    assert "Error" not in str(caught.value)


def test_first_of_several_broken_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^Line 3 of .* has 'x' in column 'v'"):
        read(write(tmp_path, "u\ti\tv\na\tb\t1\na\tb\tx\na\tb\n"))


def test_line_numbers_count_quoted_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, 'u,i,v\nann,"two\nlines",3\nbob,Air,x\n', "a.csv")
    with pytest.raises(DataError, match=r"^Line 4 of "):
        read(path)


def test_quote_that_never_closes(tmp_path: Path) -> None:
    path = write(tmp_path, 'u,i,v\nann,Air,3\nbob,"Moby,4\n' + "eve,Moby,4\n" * 20_000, "a.csv")
    with pytest.raises(DataError, match=r"^Line 3 of "):
        read(path)


def test_broken_line_in_double_colons(tmp_path: Path) -> None:
    path = write(tmp_path, "1::2::3\n1::4\n", "ratings.dat")
    with pytest.raises(DataError, match=r"Line 2 of .*ratings.dat has 2 fields instead of 3"):
        read(path, names=NAMES)


def test_truncated_column_that_is_not_wanted(tmp_path: Path) -> None:
    path = write(tmp_path, "u\ti\tv\ttime\na\tb\t1\t100\na\tb\t1\n")
    with pytest.raises(DataError, match=r"Line 3 of .* has 3 fields instead of 4"):
        read(path)


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes("u\ti\tv\nann\tAir\t1\nann\tBjörk\t1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"Line 3 of .* is not valid UTF-8"):
        read(path)
    path.write_bytes("u\ti\tv\tgröße\nann\tAir\t1\t1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"Line 1 of .* is not valid UTF-8"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("u\ti\tv\n", "holds no rows"),
        ("who\twhat\tv\n1\t2\t3\n", r"has no column 'u'; its columns are \['who', 'what', 'v'\]"),
        ("u\ti\tv\tv\n1\t2\t3\t4\n", r"has more than one column 'v'; its columns are \['u', 'i', 'v', 'v'\]"),
        ("u;i;v\n1;2;3\n", r"has no column 'u'; its columns are \['u;i;v'\]"),
    ],
)
def test_unusable_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, text))


def test_no_separator(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Line 1 of .* has neither a tab nor `::` nor a comma"):
        read(write(tmp_path, "u i v\n1 2 3\n", "a.txt"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file '.*nowhere\.tsv'"):
        read(tmp_path / "nowhere.tsv")
    with pytest.raises(DataError, match="There is no file"):
        read(tmp_path)


def test_dropping_rows_without_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_CHUNK_ROWS", 2)
    path = write(tmp_path, "a\t\t1\n\tx\t2\nb\tx\t3\n\t\t4\nc\ty\t5\n")
    assert read(path, names=NAMES, missing="drop") == {"u": ["b", "c"], "i": ["x", "y"], "v": [3.0, 5.0]}
    with pytest.raises(DataError, match="Line 1 of"):
        read(path, names=NAMES)
    with pytest.raises(DataError, match="holds no rows"):
        read(write(tmp_path, "a\t\t1\n"), names=NAMES, missing="drop")
    with pytest.raises(DataError, match=r"Line 2 of .* has 2 fields"):
        read(write(tmp_path, "a\t\t1\na\tb\n"), names=NAMES, missing="drop")


ID = st.text(st.characters(codec="utf-8", exclude_characters="\t\r\n\x00", exclude_categories=["Cs"]), min_size=1)
VALUE = st.floats(allow_nan=False, allow_infinity=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    rows=st.lists(st.tuples(ID | st.integers().map(str), ID, VALUE | st.integers(-9, 9)), min_size=1, max_size=8),
    chunk=st.integers(1, 9),
)
def test_text_comes_back_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str, float]], chunk: int
) -> None:
    monkeypatch.setattr(tables, "_CHUNK_ROWS", chunk)
    text = "".join(f"{user}\t{item}\t{value!r}\n" for user, item, value in [("u", "i", "v"), *rows])
    got = read(write(tmp_path, text.replace("'v'", "v")))
    assert [str(raw) for raw in got["u"]] == [user for user, _, _ in rows]
    assert [str(raw) for raw in got["i"]] == [item for _, item, _ in rows]
    # pandas reads the last digit of a float its own way, unless asked to take twice as long.
    np.testing.assert_allclose(got["v"], [value for _, _, value in rows], rtol=1e-15)


class TestParquet:
    def test_damage_to_what_pandas_wrote_beside_the_table_does_no_harm(self, tmp_path):
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet")
        table = pyarrow.table({"u": ["a"], "i": ["b"], "v": [1.0]}).replace_schema_metadata({"pandas": "{"})
        pyarrow.parquet.write_table(table, tmp_path / "plays.parquet")
        assert read(tmp_path / "plays.parquet") == {"u": ["a"], "i": ["b"], "v": [1.0]}

    @pytest.fixture(autouse=True)
    def _needs_pyarrow(self) -> None:
        pytest.importorskip("pyarrow")

    def write(self, folder: Path, **columns: Any) -> Path:
        path = folder / "plays.parquet"
        pd.DataFrame(columns).to_parquet(path)
        return path

    def test_columns(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, when=[1, 2], u=["ann", "bob"], i=[10, 20], v=[3, 1])
        assert read(path) == {"u": ["ann", "bob"], "i": [10, 20], "v": [3.0, 1.0]}
        assert Interactions.from_file(path, "u", "i", None).shape == (2, 2)

    def test_missing_column(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, u=["ann"], i=[10])
        with pytest.raises(DataError, match=r"plays.parquet has no column 'v'; its columns are \['u', 'i'\]"):
            read(path)

    def test_missing_id(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, u=["ann", None, "bob"], i=[1, 2, 3], v=[1.0, 2.0, 3.0])
        with pytest.raises(DataError, match=r"Row 2 of .*plays.parquet has no id in column 'u'"):
            read(path)
        assert read(path, missing="drop") == {"u": ["ann", "bob"], "i": [1, 3], "v": [1.0, 3.0]}

    def test_value_that_is_no_number(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"Row 2 of .* has nan in column 'v'"):
            read(self.write(tmp_path, u=[1, 2], i=[1, 2], v=[1.0, np.nan]))
        with pytest.raises(DataError, match=r"Row 1 of .* has 'x' in column 'v'"):
            read(self.write(tmp_path, u=[1], i=[1], v=["x"]))

    def test_damaged(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot be read"):
            read(write(tmp_path, "not parquet", "plays.parquet"))

    def test_without_pyarrow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = self.write(tmp_path, u=["ann"], i=[10], v=[1])
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'jaxals\[parquet\]'"):
            read(path)


def test_columns_of_any_name_may_be_beside_the_wanted_ones():
    present = ["user", np.array([1, 2]), pd.NA, ("a", 1)]
    require_columns(present, {"user": "user", "item": ("a", 1)}, "The data")
    with pytest.raises(DataError, match="has no column 'item'"):
        require_columns(present, {"item": "item"}, "The data")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_one_column_for_two_roles_is_refused(tmp_path: Path, name: str) -> None:
    path, frame = tmp_path / name, pd.DataFrame({"user": [7, 8], "item": [1, 2], "value": [1.0, 2.0]})
    frame.to_csv(path, index=False) if name == "a.csv" else frame.to_parquet(path, index=False)
    many: list[dict[str, Any]] = [dict(value="user"), dict(item="user"), dict(user="value")]
    for roles in many:
        ((first, second),) = roles.items()
        for ask in (
            functools.partial(Interactions.from_file, path, **roles),
            functools.partial(Interactions.from_frame, frame, **roles),
            functools.partial(temporal_split, frame, time="when", **({"value": "value"} | roles)),
        ):
            with pytest.raises(
                DataError, match=f"`({first}|{second})` and `.*` must be two columns; got '{second}' for"
            ):
                ask()


def test_a_header_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "\n" + "x" * 131_073 + ",user,item\n1,2,3\n", "a.csv")
    with pytest.raises(DataError, match=r"^Line 2 of .*a.csv cannot be read: field larger than field limit"):
        read(path)


@pytest.mark.parametrize("before", ["", "\n\n"])
def test_a_header_may_have_line_breaks_in_quotes(tmp_path: Path, before: str) -> None:
    header = before + 'u,i,v,"free\r\n\ntext"\n'
    path = write(tmp_path, header + "ann,Air,3,z\nbob,Moby,1.5,z\n", "a.csv")
    assert read(path) == {"u": ["ann", "bob"], "i": ["Air", "Moby"], "v": [3.0, 1.5]}
    path = write(tmp_path, header + "ann,Air,3,z\nbob,Moby,x,z\n", "a.csv")
    with pytest.raises(DataError, match=f"^Line {len(header.splitlines()) + 2} of .* has 'x' in column 'v'"):
        read(path)


def test_a_column_that_is_missing_is_asked_for_by_its_role(tmp_path: Path) -> None:
    path = write(tmp_path, "user,item,rating\na,b,1\n", "a.csv")
    columns = r"its columns are \['user', 'item', 'rating'\]"
    with pytest.raises(DataError, match=rf"{columns}; name the column by `value`, or pass `value=None` to count rows"):
        Interactions.from_file(path)
    with pytest.raises(DataError, match=rf"{columns}; name the column by `item`\.$"):
        Interactions.from_frame(pd.read_csv(path), item="what", value=None)
