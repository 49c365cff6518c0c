import pytest

import jaxals
from jaxals import cli
from tests.cli import FAST


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    data = jaxals.datasets.synthetic(n_users=60, n_items=40, n_interactions=700, seed=0)
    frame = data.to_frame()
    frame.to_csv(folder / "plays.tsv", sep="\t", index=False)
    named = frame.assign(item="artist [" + frame["item"].astype(str) + "]")
    named.columns = ["who", "what", "how_often"]
    named.to_csv(folder / "named.csv", index=False)
    assert cli.main(["fit", str(folder / "plays.tsv"), "--output", str(folder / "model"), "--json", *FAST]) == 0
    columns = ["--user", "who", "--item", "what", "--value", "how_often"]
    assert cli.main(["fit", str(folder / "named.csv"), *columns, "--output", str(folder / "named"), *FAST]) == 0
    return folder


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def fails(capsys):
    def fails(*arguments):
        capsys.readouterr()
        assert cli.main([str(a) for a in arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("jaxals: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return fails
