"""Settings: where strings become values, and where wrong keys and values are found.

Nothing here evaluates a string. :func:`parse_value` is the one place that turns a word of a command
line into a value; :class:`Settings` is the one list of what we add to RecBole's settings.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recbole_llm.errors import RequestError, all_problems, unknown_name

Name = str | None


class Settings(BaseModel):
    """Our settings, and bounds for those of RecBole's that we read.

    Every attribute's comment is its documentation; ``docs/settings.md`` is made from it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    item_features: Literal["text", "id"] | list[Literal["text", "id"]] = "text"
    """What an item is to the model: its text, a learned id vector, or the sum of both."""
    text_fields: list[str] | None = None
    """Columns of the .item file, in order; all its token_seq columns by default."""
    text_template: str | None = None
    """How the columns make a text, as ``{title} ({year})``; joined by commas by default."""
    text_encoder: str = "all-MiniLM-L6-v2"
    """The bundled encoder, a local path, or any Hugging Face id."""
    text_revision: str | None = None
    """Revision of a Hugging Face id."""
    text_pooling: Literal["default", "mean", "cls", "max", "last"] = "default"
    """How token vectors become one; the model's own way by default."""
    text_max_length: int | None = Field(default=None, ge=1)
    """Tokens read of a text; the model's own limit by default."""
    text_prompt: str = ""
    """Words put before each text."""
    text_dtype: Literal["auto", "float32", "bf16"] = "auto"
    """Precision of encoding; auto is bf16 where the hardware has it."""
    trust_remote_code: bool = False
    """Whether a Hugging Face model may run code of its own."""
    text_cache_dir: str | None = None
    """Folder of the vector cache; the user's cache folder by default."""
    text_control: Literal["none", "random", "shuffled"] = "none"
    """Control experiments: random vectors, or the vectors of other items."""
    whitening: Literal["none", "zca", "pca"] = "zca"
    """Treatment of the vectors before the model."""
    whitening_dim: int | None = Field(default=None, ge=1)
    """Dimensions that pca keeps; all by default."""
    empty_text: Literal["zero", "id", "error"] = "zero"
    """An item without text has the zero vector, has its id as text, or is an error."""
    min_text_coverage: float = Field(default=0.0, ge=0, le=1)
    """Share of the items that must have a text."""
    interest_pooling: Literal["mean", "sum"] = "mean"
    """Whether the running interest E_u is the mean or the sum of the item vectors so far."""
    training: Literal["all_positions", "prefixes"] = "all_positions"
    """Every position of a window at once, or one case a prefix as stock RecBole."""
    window_overlap: int = Field(default=0, ge=0)
    """Items of context that a window begins with where a long history is cut."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Scores are divided by it."""
    time_precision: Literal["exact", "recbole"] = "exact"
    """Order by exact times, or by RecBole's float32 ones."""
    run_dir: str | None = None
    """Directory of this run; one of its own in checkpoint_dir by default."""

    embedding_size: int = Field(default=64, ge=1)
    """Size of an item vector in the model."""
    hidden_size: int = Field(default=256, ge=1)
    """Size of the evolution's state."""
    num_layers: int = Field(default=1, ge=1)
    """Number of stacked layers of the evolution."""
    dropout_prob: float = Field(default=0.2, ge=0, lt=1)
    """Share of entries zeroed in training."""

    @property
    def features(self) -> list[str]:
        """Return the item features as a list."""
        chosen = self.item_features
        return [chosen] if isinstance(chosen, str) else list(chosen)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Return the settings that a RecBole configuration holds; it need not be one of ours."""
        return cls(**{name: config[name] for name in cls.model_fields if _given(config, name)})


def _given(config: Mapping[str, Any], name: str) -> bool:
    return name in config and config[name] is not None


class RecBoleBounds(BaseModel):
    """Bounds of RecBole's settings, which it does not check itself."""

    model_config = ConfigDict(extra="ignore", strict=True)

    learning_rate: float = Field(default=1e-3, gt=0, le=10, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    train_batch_size: int = Field(default=1, ge=1)
    eval_batch_size: int = Field(default=1, ge=1)
    epochs: int = Field(default=1, ge=1)
    eval_step: int = Field(default=1, ge=0)
    stopping_step: int = Field(default=1, ge=0)
    MAX_ITEM_LIST_LENGTH: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    hidden_dropout_prob: float = Field(default=0.0, ge=0, lt=1)
    attn_dropout_prob: float = Field(default=0.0, ge=0, lt=1)
    n_layers: int = Field(default=1, ge=1)
    n_heads: int = Field(default=1, ge=1)
    inner_size: int = Field(default=1, ge=1)
    topk: int | list[int] = 10
    metrics: str | list[str] = "NDCG"
    valid_metric: str = "NDCG@10"
    eval_args: dict[str, Any] = {}
    data_path: str = ""
    checkpoint_dir: str = ""
    use_gpu: bool = True
    reproducibility: bool = True
    show_progress: bool = True


def text_keys() -> set[str]:
    """Return the keys whose value is text whatever it looks like."""
    known = {**Settings.model_fields, **RecBoleBounds.model_fields}
    plain = {name for name, field in known.items() if field.annotation in (str, Name)}
    return plain | {"model", "dataset", "gpu_id", "encoding", "loss_type", "learner", "state"}


def parse_value(key: str, text: str) -> Any:
    """Turn a word of a command line into a value, without evaluating it.

    Args:
        key: The setting. The value of a text setting stays as it was written.
        text: The word: true, false, none or null; a Python literal; a YAML list or mapping; else
            text.
    """
    lowered = text.strip().lower()
    if key in text_keys():
        return None if lowered in ("none", "null", "~") else text
    words = {"true": True, "false": False, "none": None, "null": None, "~": None}
    if lowered in words:
        return words[lowered]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    if text.strip()[:1] in ("[", "{"):
        try:
            return yaml.load(text, Loader=StrictLoader)  # a SafeLoader: builds no objects
        except yaml.YAMLError:
            pass
    return text


def split_arguments(argv: Sequence[str]) -> dict[str, str]:
    """Split ``--key=value`` and ``--key value`` into raw settings.

    Raises:
        RequestError: If a flag has no value or two values, or a word belongs to no flag; all such
            problems at once.
    """
    found: dict[str, str] = {}
    problems = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or word == "--":
            problems.append(f"{word!r} belongs to no setting. Write --key=value.")
            continue
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not words or words[0].startswith("--"):
                problems.append(f"--{key} has no value. Write --{key}=value.")
                continue
            value = words.pop(0)
        if found.get(key, value) != value:
            problems.append(f"--{key} is given twice, as {found[key]!r} and {value!r}. Keep one.")
        found[key] = value
    if problems:
        raise RequestError(all_problems("command line", problems))
    return found


class StrictLoader(yaml.SafeLoader):
    """YAML without repeated keys, in which 1e-3 is a number as in RecBole."""


StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
        |\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.X,
    ),
    list("-+0123456789."),
)


def _mapping_without_repeats(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str | int) and key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice. Keep one", key_node.start_mark
            )
        seen.add(key) if isinstance(key, str | int) else None
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings.

    Raises:
        RequestError: If it is missing, is not UTF-8, does not parse, repeats a key, is empty or is
            no mapping; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(
            f"{path}: cannot be read ({error.strerror}). Name a YAML file."
        ) from None
    if content.startswith(b"\xef\xbb\xbf"):
        raise RequestError(f"{path}:1: begins with a byte order mark. Save it as plain UTF-8.")
    try:
        settings = yaml.load(content.decode("utf-8"), Loader=StrictLoader)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RequestError(f"{path}:{line}: is not UTF-8. Save it as plain UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RequestError(f"{path}:{line}: {error.problem}. Mend the line.") from None
    except yaml.YAMLError as error:
        raise RequestError(f"{path}:1: {str(error).splitlines()[0]}. Mend the file.") from None
    if settings is None:
        raise RequestError(f"{path}:1: the file is empty. Write settings as key: value.")
    if not isinstance(settings, dict):
        raise RequestError(
            f"{path}:1: must be a mapping of settings, received a {type(settings).__name__}. "
            "Write settings as key: value."
        )
    return {str(key): value for key, value in settings.items()}


def find_problems(values: Mapping[str, Any], *, known_keys: Collection[str]) -> list[str]:
    """Return all that is wrong with settings: unknown keys, types, bounds, relations."""
    problems = [
        unknown_name("setting", key, known_keys, list_known=False) + " See docs/settings.md."
        for key in values
        if key not in known_keys
    ]
    for schema in (Settings, RecBoleBounds):
        given = {key: values[key] for key in schema.model_fields if values.get(key) is not None}
        try:
            schema(**given)
        except ValidationError as error:
            problems += _describe(error)
    problems += _topk_problems(values.get("topk"))
    size, heads = values.get("hidden_size"), values.get("n_heads")
    if isinstance(size, int) and isinstance(heads, int) and heads > 0 and size % heads:
        problems.append(f"hidden_size: must be divisible by n_heads ({heads}), received {size}.")
    return problems


def _topk_problems(topk: Any) -> list[str]:
    cutoffs = topk if isinstance(topk, list) else [topk]
    bad = [k for k in cutoffs if isinstance(k, int) and (k < 1 or isinstance(k, bool))]
    bad += [k for k in [topk] if k == []]
    return (
        [f"topk: must be a positive integer or a list of them, received {topk!r}."] if bad else []
    )


def _describe(error: ValidationError) -> list[str]:
    """Return one line a setting: the rule, and what was received."""
    lines: dict[str, str] = {}
    for problem in error.errors():
        key, value = str(problem["loc"][0]), problem["input"]
        if problem["type"] == "literal_error" and isinstance(value, str):
            choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
            lines[key] = f"{key}: {unknown_name('choice', value, choices)}"
        else:
            rule = problem["msg"].replace("Input should", "must")
            lines.setdefault(key, f"{key}: {rule}, received {value!r}.")
    return list(lines.values())
