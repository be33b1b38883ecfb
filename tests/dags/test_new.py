import pytest

from refresh_factory.new import NewPipelineError, new_pipeline
from refresh_factory.pipeline import load_pipeline


def test_a_new_pipeline_has_its_name_and_all_files(tmp_path):
    folder = new_pipeline("churn", tmp_path)
    assert load_pipeline(folder).model == folder.name == "churn"
    assert (folder / "dag.py").is_file()
    assert not list(folder.glob("*pyc*"))


@pytest.mark.parametrize("name", ["", "Churn", "1churn", "chu-rn", "../churn", "x" * 51, "churn "])
def test_a_name_that_cannot_be_used_makes_nothing(tmp_path, name):
    with pytest.raises(NewPipelineError, match=r"cannot name a pipeline: use lower-case letters"):
        new_pipeline(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    folder = new_pipeline("churn", tmp_path)
    (folder / "train.sql").write_text("mine")
    with pytest.raises(NewPipelineError, match="churn is there already"):
        new_pipeline("churn", tmp_path)
    assert (folder / "train.sql").read_text() == "mine"
