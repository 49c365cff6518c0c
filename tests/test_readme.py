import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_example_runs_as_pasted(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    assert len(code[1].strip().splitlines()) <= 15
    exec(code[1], {})
    printed = capsys.readouterr().out
    assert "ndcg@10" in printed
    assert printed.count("me ") >= 5  # recommendations for who was folded in
    assert (tmp_path / "my-model").is_dir()


def test_it_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) < 120


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
    missing = [link for link in links if not link.startswith("http") and not (README.parent / link).exists()]
    assert links
    assert not missing
