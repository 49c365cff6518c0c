import errno
import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from jaxals import cli
from jaxals.cli import commands
from jaxals.cli.options import COLUMNS, read
from tests.cli import FAST


def test_mistakes_on_the_command_line(folder, fails, tmp_path):
    table, model = folder / "plays.tsv", folder / "model"
    fit = ["fit", table, "--output", tmp_path / "new"]
    assert "--factrs" in fails(*fit, "--factrs", 3)
    assert "ft" in fails("ft", table)
    assert "--output" in fails("fit", table)
    assert "DATA" in fails("fit")
    assert "--factors" in fails(*fit, "--factors", "many")
    assert "`factors` must be an integer >= 1" in fails(*fit, "--factors", 0)
    assert "`regularization` must be >= 0; got -0.1" in fails(*fit, "--regularization", -0.1)
    assert "`regularization`" in fails(*fit, "--regularization", "nan")
    assert "`alpha` must be > 0" in fails(*fit, "--objective", "hkv", "--alpha", 0)
    assert "`patience`" in fails(*fit, "--patience", 0)
    assert "--seed" in fails(*fit, "--seed", -1)
    assert "--dtype" in fails(*fit, "--dtype", "float16")
    assert "--objective" in fails(*fit, "--objective", "bpr")
    assert "ials takes --unobserved-weight" in fails(*fit, "--objective", "ials", "--alpha", 3)
    assert "hkv takes --alpha and --regularization, but no --epsilon" in fails(
        *fit, "--objective", "hkv", "--epsilon", 3
    )
    assert "--holdout" in fails(*fit, "--metrics", "ndcg@10")
    assert "name their folder with `--checkpoint`" in fails(*fit, "--resume")
    assert "no metric 'ndgc@10'" in fails(*fit, "--holdout", 1, "--metrics", "ndgc@10")
    assert "ndcg@10" in fails(*fit, "--monitor", "ndcg@10")
    assert "more than 99" in fails(*fit, "--holdout", 99)
    assert "not both" in fails("evaluate", table, "--holdout", 1, "--fraction", 0.2)
    assert "`fraction`" in fails("evaluate", table, "--fraction", 1.5)
    tune = ["tune", table, "--path", tmp_path / "new"]
    assert "--factors must be such as 32 or 32,64,128; got '16..64'" in fails(*tune, "--factors", "16..64")
    assert "--alpha must be such as 0.01..1" in fails(*tune, "--objective", "hkv", "--alpha", "big")
    assert "--alpha: `low` must be above 0 and below `high`" in fails(*tune, "--objective", "hkv", "--alpha", "9..1")
    assert "ials takes --unobserved-weight" in fails(*tune, "--alpha", "1..2")
    assert "--sampler" in fails(*tune, "--sampler", "grid")
    assert "--trials" in fails(*tune, "--trials", 0)
    assert "no metric 'ndgc@10'" in fails(*tune, "--metrics", "ndgc@10")
    assert "something other than the trials of a search" in fails("tune", table, "--path", table)
    assert "USERS" in fails("recommend", model)
    assert "--n" in fails("recommend", model, 3, "--n", 0)
    assert "--measure" in fails("similar", model, 3, "--measure", "euclid")
    assert not (tmp_path / "new").exists()


def test_mistakes_in_files_and_ids(folder, fails, tmp_path, monkeypatch):
    table, model = folder / "plays.tsv", folder / "model"
    monkeypatch.delenv("JAXALS_DATA", raising=False)
    assert "no file 'missing.tsv'" in fails("fit", "missing.tsv", "--output", tmp_path / "new")
    assert "no column 'artist'" in fails("fit", table, "--item", "artist", "--output", tmp_path / "new")
    assert "lastfm-2k is a known data set" in fails("evaluate", "lastfm-2k", "--user", "who")
    assert "There is no model folder" in fails("recommend", tmp_path / "nowhere", 3)
    assert "not a jaxals model" in fails("recommend", tmp_path, 3)
    assert "no user 61" in fails("recommend", model, 61)
    assert "no user 'ann'" in fails("recommend", model, "ann")
    assert "no item 'artist 3'; the nearest known are" in fails("similar", folder / "named", "artist 3").replace(
        " in the catalog of 40 items", ""
    )
    broken = tmp_path / "broken.csv"
    broken.write_text("user,item,value\na,x,1\na,y\n")
    assert "Line 3 of" in fails("fit", broken, "--output", tmp_path / "new")
    monkeypatch.setenv("JAXALS_DATA", str(tmp_path / "nowhere"))
    assert "JAXALS_DATA" in fails("datasets")


def test_asking_for_more_memory_or_devices_than_there_are_is_one_line(folder, fails, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(commands, "run_plan", lambda *_: jnp.zeros(2**50))
        assert "Out of memory" in fails("evaluate", folder / "plays.tsv", *FAST)

    def fail():
        raise RuntimeError("Unable to initialize backend 'cuda': no driver")

    monkeypatch.setattr(jax, "devices", fail)
    assert "backend 'cuda'" in fails("fit", folder / "plays.tsv", "--output", folder / "new", *FAST)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit plays.tsv --factor 3", "There is no option --factor; did you mean --factors?"),
        ("fit plays.tsv --reg=1 --seed bad", "There is no option --reg; did you mean --regularization?"),
        ("fit plays.tsv --output o --re", "There is no option --re; did you mean --regularization or --resume?"),
        ("fit plays.tsv --outptu o", "There is no option --outptu; did you mean --output?"),
        ("fit plays.tsv --FACTORS 3 --output o", "There is no option --FACTORS; did you mean --factors?"),
        ("fit plays.tsv", "`jaxals fit` needs --output, which is missing; see `jaxals fit --help`."),
        ("fit", "`jaxals fit` needs its DATA, which is missing; see `jaxals fit --help`."),
        ("fit plays.tsv --output", "--output needs a value; one that begins with a dash is written --output=-..."),
        ("fit plays.tsv --output o --holdout 1 --metrics", "--metrics must have a value behind it; got nothing."),
        ("fit plays.tsv --output o --names", "--names must have a value behind it; got nothing."),
        ("fit plays.tsv --output o --seed 1 --seed 2", "--seed is given twice; give it once."),
        ("fit plays.tsv --output o --factors 2.5", "--factors must be an integer; got '2.5'."),
        ("fit plays.tsv --output o --alpha x", "--alpha must be a number; got 'x'."),
        ("fit plays.tsv --output o --holdout 0", "--holdout must be >= 1; got 0."),
        ("fit plays.tsv --output o --json=3", "--json takes no value; got '3'."),
        (
            "fit plays.tsv --output o --solver lu",
            "--solver must be exact, cholesky, conjugate-gradient, subspace or non-negative; got 'lu'.",
        ),
        (
            "recommend model -x",
            "There is no option -x; what begins with a dash and is none goes behind a -- of its own.",
        ),
        ("datasets x", "`jaxals datasets` does not know what to do with 'x'; see `jaxals datasets --help`."),
        ("ft plays.tsv", "There is no command ft; did you mean fit?"),
        ("xyz", "There is no command 'xyz'; there are fit, recommend, similar, evaluate, tune, datasets, demo."),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words, said, fails):
    assert fails(*words.split()) == f"jaxals: {said}\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nBufferAssignment: much more"),
        RuntimeError("INTERNAL: RESOURCE_EXHAUSTED: Failed to allocate request for 1.0GiB"),
    ],
)
def test_too_little_memory_is_one_sentence(error, monkeypatch, fails):
    def load(_):
        raise error

    monkeypatch.setattr(commands, "_load", load)
    said = fails("recommend", "model", 3)
    assert said.startswith("jaxals: There is too little memory for this (")
    assert "BufferAssignment" not in said


def test_a_defect_keeps_its_traceback(monkeypatch):
    def load(_):
        raise RuntimeError("generator raised StopIteration")

    monkeypatch.setattr(commands, "_load", load)
    with pytest.raises(RuntimeError, match="StopIteration"):
        cli.main(["recommend", "model", "3"])


def test_a_platform_without_devices_is_one_sentence(folder, fails, monkeypatch, tmp_path):
    def fail():
        assert None is not None  # all that JAX 0.10 says where `JAX_PLATFORMS=cuda` has no plugin

    monkeypatch.setattr(jax, "devices", fail)
    table, model = folder / "plays.tsv", folder / "model"
    for words in (
        ["fit", table, "--output", tmp_path / "m"],
        ["evaluate", table],
        ["tune", table],
        ["recommend", model, 3],
    ):
        assert "unset JAX_PLATFORMS, or install JAX's plugin" in fails(*words)


def test_files_that_cannot_be_read_or_written(folder, fails, tmp_path):
    table = folder / "plays.tsv"
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "damaged.tsv.gz").write_bytes(gzip.compress(table.read_bytes())[:-20])
    output = ["--output", tmp_path / "m"]
    assert "empty" in fails("fit", tmp_path / "empty.tsv", *output)
    assert "damaged.tsv.gz" in fails("fit", tmp_path / "damaged.tsv.gz", *output)
    assert "There is no file" in fails("fit", tmp_path, *output)
    assert "something other" in fails("fit", table, "--output", tmp_path / "file")
    assert "something other" in fails("tune", table, "--path", table, "--trials", 1)
    assert "irectory" in fails("tune", table, "--path", tmp_path, "--trials", 1)
    assert "name in UTF-8" in fails("fit", table, "--output", tmp_path / "\udcff")
    assert "name in UTF-8" in fails("fit", table, *output, "--checkpoint", tmp_path / "\udcff")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_names_the_file(monkeypatch, fails):
    def load(_):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/model")

    monkeypatch.setattr(commands, "_load", load)
    assert fails("recommend", "model", 3) == "jaxals: No space left on device: /data/model.\n"


def test_advice_is_in_words_of_the_shell(folder, fails, run, tmp_path, monkeypatch):
    table, mine, model = folder / "plays.tsv", tmp_path / "mine.csv", ["--output", tmp_path / "m"]
    assert "; lower `--holdout`." in fails("fit", table, *model, "--holdout", 99)
    mine.write_text("user,item,rating\na,x,1\nb,y,2\n")
    said = fails("fit", mine, *model)
    assert "name the column by `--value`, or pass `--no-value` to count rows" in said
    assert "name the column by `--user`" in fails("fit", mine, *model, "--user", "who")
    assert "must be two columns; got 'user' for both" in fails("fit", mine, *model, "--value", "user")
    (tmp_path / "runs").mkdir()
    checkpoint = [*model, "--checkpoint", tmp_path / "runs" / "1", *FAST]
    run("fit", table, *checkpoint)
    assert "go on from them with `--resume`, or name another folder" in fails("fit", table, *checkpoint)
    assert "to go on all the same, pass `--anyway`" in fails(
        "fit", table, *checkpoint, "--resume", "--regularization", 3
    )


def test_metrics_may_have_commas_between_them(folder, run):
    said = json.loads(run("evaluate", folder / "plays.tsv", "--metrics", "AUC,ndcg@5", "recall@3,", *FAST, "--json"))
    assert [name for name in ("auc", "ndcg@5", "recall@3") if name in json.dumps(said)] == ["auc", "ndcg@5", "recall@3"]


def test_the_file_that_a_folder_was_taken_for_is_named(capsys, tmp_path):
    (tmp_path / "mine.csv").write_text("user,item,value\na,x,1\n")
    text = "".join(f"u{n % 4}\t\tartist {n}\t{n}\n" for n in range(1, 12))
    (tmp_path / "usersha1-artmbid-artname-plays.tsv").write_text(text)
    assert read(str(tmp_path), COLUMNS).shape == (4, 11)
    assert "holds usersha1-artmbid-artname-plays.tsv, which is read as the data set" in capsys.readouterr().err
