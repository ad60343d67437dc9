"""Plain RecBole finds our models, and importing us costs nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from recbole_llm.plugin import CLASSIFIERS, MODELS, load, properties_file

HEAVY = ("torch", "ray", "recbole", "tensorboard", "numpy", "pandas", "sentence_transformers")


def python(code: str) -> list[str]:
    """Run code in a fresh interpreter and return the lines it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=900,  # a slow machine
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_importing_us_imports_nothing_heavy() -> None:
    code = f"import recbole_llm, sys; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(code) == ["[]"]


def test_importing_us_and_asking_for_help_take_no_time() -> None:
    code = f"""
    import contextlib, io, sys, time
    begin = time.process_time()  # of this process alone: other load on the machine does not count
    import recbole_llm
    from recbole_llm.cli import main
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["--help"]) == main(["recommend", "--help"]) == 0
    print(time.process_time() - begin, [name for name in {HEAVY} if name in sys.modules])
    """
    seconds, _, loaded = python(code)[-1].partition(" ")
    assert loaded == "[]" and float(seconds) < 0.5  # 0.04 on a server's core


@pytest.mark.slow
def test_the_main_job_imports_nothing_that_it_does_not_use() -> None:
    others = ("ray", "recbole.quick_start", "transformers", "sentence_transformers", "matplotlib")
    code = f"""
    import sys, recbole_llm.quick_start
    print([name for name in {(*others, "seaborn", "optuna", "wandb")} if name in sys.modules])
    """
    assert python(code) == ["[]"]


def test_every_entry_of_the_table_is_there() -> None:
    for name, entry in {**MODELS, **CLASSIFIERS}.items():
        model = load(entry.model)
        assert model.__name__ == name and model.__module__.startswith("recbole_llm.model.")
        assert load(entry.dataset) and load(entry.trainer)
        assert properties_file(name).is_file()


def test_no_model_of_ours_has_the_name_of_one_of_recboles() -> None:
    from recbole_llm.checks import recbole_models

    assert {name.lower() for name in MODELS} & {name.lower() for name in recbole_models()} == set()


LOOK_UP = """
from recbole.utils import get_model, get_trainer, ModelType
import recbole.data.dataset as datasets
model = get_model("LLMInterestLSTM")
trainer = get_trainer(ModelType.SEQUENTIAL, "LLMInterestLSTM")
print(model.__name__, trainer.__name__, datasets.LLMInterestLSTMDataset.__name__,
      get_model("SASRec").__name__, get_trainer(ModelType.SEQUENTIAL, "SASRec").__name__,
      hasattr(datasets, "SASRecDataset"))
"""
FOUND = "LLMInterestLSTM InterestTrainer InterestDataset SASRec Trainer False"


TRAIN = """
from recbole.quick_start import run_recbole
result = run_recbole(model={model!r}, dataset="ml-100k", config_dict={settings})
print(result["test_result"][{metric!r}])
"""
CLASSIFIER = {
    "epochs": 1, "show_progress": False, "classifier_layers": 1,
    "user_inter_num_interval": "[0,21]", "text_max_length": 32,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then", "low", "high"),
    [
        (
            "import recbole_llm, recbole.quick_start",
            {
                "model": "LLMInterestLSTM",
                "settings": {"epochs": 1, "show_progress": False},
                "metric": "recall@10",
            },
            0.03,
            0.5,
        ),
        (
            "import recbole_llm, importlib; importlib.reload(recbole_llm); recbole_llm.register()",
            {"model": "LLMInterestClassifier", "settings": CLASSIFIER, "metric": "auc"},
            0.0,
            1.0,
        ),
    ],
    ids=["the model", "the classifier, registered twice"],
)
def test_recbole_finds_our_parts_and_its_own_run_recbole_trains_them(
    first: str, then: dict, low: float, high: float
) -> None:
    printed = python(first + LOOK_UP + TRAIN.format(**then))
    assert FOUND in printed and low < float(printed[-1]) < high


SPAWN = """
import pickle, subprocess, sys
import recbole.quick_start.quick_start as quick_start
sent = pickle.dumps(quick_start.run_recboles)
child = "import pickle, sys; pickle.loads({!r}); from recbole.utils import get_model;" \\
        "print(get_model('LLMInterestLSTM').__name__)".format(sent)
command = [sys.executable, "-W", "ignore", "-c", child]
print(subprocess.run(command, capture_output=True, text=True).stdout)
"""


@pytest.mark.slow
def test_after_recbole_its_parts_are_found_too_and_by_a_spawned_child() -> None:
    printed = python("import recbole.quick_start, recbole_llm" + LOOK_UP + SPAWN)
    assert FOUND in printed and "LLMInterestLSTM" in printed


def test_recboles_children_run_recboles_own_function(monkeypatch) -> None:
    import recbole.quick_start.quick_start as quick_start

    from recbole_llm.plugin import run_recboles

    calls = []
    monkeypatch.setattr(quick_start, "run_recbole", lambda *a, **k: calls.append((a, k)))
    assert quick_start.run_recboles is run_recboles
    run_recboles(3, "M", "d", None, {"config_dict": {"seed": 1}, "queue": None})
    assert calls == [
        (("M", "d", None), {"config_dict": {"seed": 1, "local_rank": 3}, "queue": None})
    ]


WITHOUT_RECBOLE = """
import importlib.abc, importlib.metadata, sys
version = importlib.metadata.version
def absent(name):
    if name == "recbole":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = absent
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "recbole":
            raise ModuleNotFoundError("No module named 'recbole'")
sys.meta_path.insert(0, Absent())
import io, recbole_llm
from recbole_llm import cli
from recbole_llm.errors import RequestError
sys.stderr = io.StringIO()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "recbole_llm.run_recbole()",
        "recbole_llm.load_run('x')",
        "print(cli.main(['check', 'x.yaml']), sys.stderr.getvalue().strip())",
        "print(cli.run_recbole_command(['--model=BPR']), sys.stderr.getvalue().strip())",
    ],
)
def test_without_recbole_the_error_says_the_command(call: str) -> None:
    code = (
        f"{WITHOUT_RECBOLE}\ntry:\n    {call}\nexcept RequestError as error:\n    print(2, error)"
    )
    printed = python(code)[-1]
    assert printed.startswith("2 ") and "pip install --no-deps recbole==1.2.1" in printed


def test_pandas_3_is_refused_with_the_command(monkeypatch) -> None:
    from recbole_llm import compat
    from recbole_llm.errors import RequestError

    monkeypatch.setattr(compat.metadata, "version", lambda name: "3.1.1")
    with pytest.raises(RequestError, match="pip install 'pandas<3'"):
        compat.require_recbole()
