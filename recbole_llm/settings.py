"""The schemas of settings: :class:`Settings` is the one list of what we add to RecBole's."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recbole_llm.errors import unknown_name
from recbole_llm.recbole_bounds import RecBoleBounds

Name = str | None
Adaptor = Literal["linear", "mlp", "whitening", "moe"]
OWN_SPLITS = ("time_cut", "cold_start")  # kinds of eval_args.split that RecBole lacks
FEATURES = ("text", "id")  # item features that need no file of vectors
WORD_COUNTS = ("tfidf", "hashing")  # text encoders that are no language model
Operation = Literal["drop", "mask", "crop", "reorder"]


class Settings(BaseModel):
    """Our settings; every attribute's comment is its documentation (``docs/settings.md``)."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    item_features: str | Annotated[list[str], Field(min_length=1)] = "text"
    """What an item is to the model: text, id (a learned vector), names of modalities."""
    modalities: dict[str, str] = {}
    """Files of other item vectors by name: .npy or .safetensors, with an id list, .ids, beside."""
    adaptor: Adaptor | dict[str, Adaptor] = "linear"
    """How a feature's vectors get the model's size; for all features but id, or by feature."""
    adaptor_hidden_size: int | None = Field(default=None, ge=1)
    """Hidden width of adaptor mlp; twice embedding_size by default."""
    adaptor_experts: int = Field(default=8, ge=2)
    """Parametric whitenings that adaptor moe mixes."""
    fusion: Literal["sum", "concat", "gate"] = "sum"
    """How several features make one vector: added, mapped together, or mixed by a gate."""
    text_fields: list[str] | None = None
    """Columns of the .item file, in order; all its token_seq columns by default."""
    text_template: str | None = None
    """How columns make a text: ``{title} ({year})``, ``Toy ()`` without a year; else commas do."""
    text_encoder: str = "all-MiniLM-L6-v2"
    """The bundled encoder, a local path, any Hugging Face id; or tfidf, hashing: words counted."""
    text_revision: str | None = None
    """Revision of a Hugging Face id."""
    text_pooling: Literal["default", "mean", "cls", "max", "last", "weighted_mean"] = "default"
    """How token vectors become one; the model's own way by default (docs/encoders.md)."""
    text_max_length: int | None = Field(default=None, ge=3)
    """Tokens read of a text, two of which most models spend on marks; its own limit by default."""
    text_prompt: str = ""
    """Words put before each text, as the model was trained to be asked (docs/encoders.md)."""
    text_dim: int | None = Field(default=None, ge=1)
    """Entries kept of a text's vector, for models trained so (Matryoshka); all by default."""
    text_backend: Literal["torch", "torch_compiled", "onnx", "openvino"] = "torch"
    """What runs the encoder; onnx and openvino are extras, on the processor (docs/encoders.md)."""
    text_dtype: Literal["auto", "float32", "bf16", "int8"] = "auto"
    """Precision of encoding; auto is bf16 where that is faster; int8 for onnx and openvino."""
    text_tuning: Literal["frozen", "last_layers", "lora", "prefix", "full"] = "frozen"
    """What of the encoder is trained (docs/text_tuning.md); lora and prefix need the extra lora."""
    text_tuning_layers: int = Field(default=2, ge=1)
    """Layers that text_tuning: last_layers trains."""
    lora_rank: int = Field(default=8, ge=1)
    """Rank of the matrices that text_tuning: lora adds to every linear map."""
    lora_alpha: int = Field(default=16, ge=1)
    """What they add is scaled by lora_alpha / lora_rank."""
    prefix_length: int = Field(default=8, ge=1)
    """Vectors that text_tuning: prefix puts before the keys and values of every layer."""
    text_learning_rate: float = Field(default=1e-5, gt=0, le=1, allow_inf_nan=False)
    """Learning rate of the encoder's weights; learning_rate is that of all others."""
    text_warmup_steps: int = Field(default=0, ge=0)
    """Steps over which it rises to its value; warmup_steps is that of all others."""
    text_tuning_items: int | None = Field(default=None, ge=1)
    """Items a step whose vectors are made anew, drawn from the batch's; all of them by default."""
    text_checkpointing: bool = False
    """Whether the encoder's activations are made again for gradients: less memory, more time."""
    trust_remote_code: bool = False
    """Whether a Hugging Face model may run code of its own."""
    text_cache_dir: str | None = None
    """Folder of the vector cache; the user's cache folder by default."""
    text_diversity: bool = False
    """Whether the texts of lists are compared for a sequence model that reads none, too."""
    text_control: Literal["none", "random", "shuffled"] = "none"
    """Control experiments: random vectors, or the vectors of other items."""
    whitening: Literal["none", "standard", "zca", "pca"] = "zca"
    """Treatment of the vectors before the model; standard scales each entry alone."""
    whitening_dim: int | None = Field(default=None, ge=1)
    """Dimensions that pca keeps; all by default."""
    empty_text: Literal["zero", "id", "error"] = "zero"
    """An item without text has the zero vector, has its id as text, or is an error."""
    min_text_coverage: float = Field(default=0.0, ge=0, le=1)
    """Share of the items that must have a text."""
    init_from: str | None = None
    """Directory of a finished run whose trained weights this one begins with (docs/transfer.md)."""
    train_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the training users that training sees; evaluation has all users."""
    train_share_seed: int = Field(default=0, ge=0)
    """Seed of their draw; a smaller share is part of a larger one."""
    interest_pooling: Literal["mean", "sum"] = "mean"
    """Whether the running interest E_u is the mean or the sum of the item vectors so far."""
    interest_combination: Literal["current", "sum", "gate"] = "current"
    """Rank by the current interest, by its sum with the long-term one, or by a gate's mix."""
    compile_evolution: bool = False
    """Whether ``torch.compile`` makes the evolution layer faster first (docs/performance.md)."""
    training: Literal["all_positions", "prefixes"] = "all_positions"
    """Every position of a window at once, or one case a prefix as stock RecBole."""
    window_overlap: int = Field(default=0, ge=0)
    """Items of context that a window begins with where a long history is cut."""
    loss_type: str = "CE"
    """Ours: CE (softmax over all items), SCE (sampled softmax), BCE, GBCE, BPR, MSE."""
    num_negatives: int = Field(default=256, ge=1)
    """Negatives drawn a batch by SCE, BCE, GBCE and BPR, shared by its positions."""
    negative_sampling: Literal["uniform", "popularity", "in_batch"] = "uniform"
    """How they are drawn; in_batch draws them from the batch's own targets."""
    gbce_calibration: float = Field(default=0.75, ge=0, le=1)
    """GBCE's t: 0 is plain BCE, 1 is as calibrated as a full softmax."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """CE's share of probability that is spread over all items."""
    propensity_weighting: Literal["none", "ips", "snips"] = "none"
    """A target's loss is divided by its item's propensity; snips normalises (docs/causality.md)."""
    propensity_power: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    """An item's propensity is its share of the most popular item's count, to this power."""
    propensity_clip: float = Field(default=0.1, ge=0, le=1)
    """The lower bound of a propensity; 0 is none."""
    popularity_adjustment: float = Field(default=0.0, allow_inf_nan=False)
    """Scores are lowered by so many times log(1 + training count); below 0 they are raised."""
    repeat_bias: bool = False
    """Whether a learned number is added to the scores of items that were read (docs/repeats.md)."""
    similarity_bias: bool = False
    """Whether items with texts like the last item's gain in score (docs/similarity.md)."""
    scoring: Literal["inner", "cosine"] = "inner"
    """Whether interests and items are compared by inner product or by cosine."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Scores are divided by it."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Batches whose gradients make one step."""
    lr_scheduler_type: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up: constant, or falling to 0 along a cosine over epochs."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises to its value."""
    min_delta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """An epoch is better, kept and renews the patience, if valid_metric gains more than this."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the average of the weights that is validated and kept; 0 keeps no average."""
    item_noise: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Noise added in training to each item vector of a history, relative to the vector's RMS."""
    augmentation: list[Operation] = []
    """Changes of training windows, one drawn a window: drop, mask, crop, reorder; none if empty."""
    augmentation_rate: float = Field(default=0.2, gt=0, lt=1)
    """How much is changed: the share of items dropped, masked, cut off or in a shuffled span."""
    adversarial_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of the loss on item vectors that are moved against the model (FGM); 0 is off."""
    adversarial_epsilon: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """How far each is moved, relative to the RMS norm of all item vectors."""
    contrastive_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of the contrastive loss of interests; 0 is off."""
    contrastive_views: Literal["augmented", "dropout", "same_target"] = "augmented"
    """What is alike: two augmented windows, two dropout masks, or positions of one target."""
    contrastive_temperature: float = Field(default=0.2, gt=0, allow_inf_nan=False)
    """The cosines of the contrastive loss are divided by it."""
    time_precision: Literal["exact", "recbole"] = "exact"
    """Order by exact times, or by RecBole's float32 ones."""
    filter_seen: bool = False
    """Whether full ranking by a sequence model leaves out what a user had, except the target."""
    eval_batch_cells: int = Field(default=2**22, ge=1)
    """Scores that full ranking by a sequence model holds at once, at most (docs/evaluation.md)."""
    classifier_layers: int | None = Field(default=None, ge=0)
    """Layers of the classifier's encoder that are trained, the last ones; none is all of it."""
    classifier_history: Literal["all", "bought"] = "all"
    """Whether the classifier reads all that a user had before, or what was bought of it."""
    classifier_tokens: int = Field(default=4096, ge=1)
    """Tokens, padding included, that the classifier's encoder reads at once."""
    run_dir: str | None = None
    """Directory of this run; one of its own in checkpoint_dir by default."""

    embedding_size: int = Field(default=64, ge=1)
    """Size of an item vector in the model."""
    hidden_size: int = Field(default=256, ge=1)
    """Size of the evolution's state."""
    num_layers: int = Field(default=1, ge=1)
    """Number of stacked layers of the evolution."""
    n_heads: int = Field(default=2, ge=1)
    """Attention heads; twice their number must divide hidden_size in ours."""
    dropout_prob: float = Field(default=0.2, ge=0, lt=1)
    """Share of entries zeroed in training."""

    @property
    def features(self) -> list[str]:
        """Return the item features as a list."""
        chosen = self.item_features
        return [chosen] if isinstance(chosen, str) else list(chosen)

    def adaptor_of(self, feature: str) -> str:
        """Return the kind of adaptor that a feature has."""
        chosen = self.adaptor
        return chosen if isinstance(chosen, str) else chosen.get(feature, "linear")

    @property
    def has_augmented_views(self) -> bool:
        """Tell whether the contrastive term compares augmented windows."""
        return self.contrastive_weight > 0 and self.contrastive_views == "augmented"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Return the settings that a RecBole configuration holds; it need not be one of ours."""
        return cls(**{name: config[name] for name in cls.model_fields if _given(config, name)})


def _given(config: Mapping[str, Any], name: str) -> bool:
    return name in config and config[name] is not None


Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ColdStart(BaseModel):
    """``eval_args.split: {cold_start: ...}``: items that training does not know (docs/protocol.md).

    Attributes:
        shares: Of the items, for training, validation and test.
        items: Which are held out: drawn at random, or those that appear last.
        seed: Of the draw; the model's seed does not change it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    shares: Annotated[list[Share], Field(min_length=3, max_length=3)]
    items: Literal["random", "newest"] = "random"
    seed: int = Field(default=0, ge=0)


@cache
def text_keys() -> frozenset[str]:
    """Return the keys whose value is text whatever it looks like."""
    known = {**Settings.model_fields, **RecBoleBounds.model_fields}
    plain = {name for name, field in known.items() if field.annotation in (str, Name)}
    more = {"model", "dataset", "gpu_id", "encoding", "loss_type", "learner", "state"}
    return frozenset(plain | more)


def find_problems(values: Mapping[str, Any], *, known_keys: Collection[str]) -> list[str]:
    """Return all that is wrong with settings: unknown keys, types, bounds, relations."""
    problems = [
        unknown_name("setting", key, known_keys, list_known=False) + " See docs/settings.md."
        for key in values
        if key not in known_keys
    ]
    for schema in (Settings, RecBoleBounds):
        try:
            schema(**{key: values[key] for key in schema.model_fields if key in values})
        except ValidationError as error:
            problems += describe(error)
    return problems


def describe(error: ValidationError) -> list[str]:
    """Return one line a setting: the rule, and what was received."""
    lines: dict[str, str] = {}
    for problem in error.errors():
        key, value = str(problem["loc"][0]), problem["input"]
        if problem["type"] == "literal_error" and isinstance(value, str):
            choices = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
            lines[key] = f"{key}: {unknown_name('choice', value, choices)}"
        else:
            rule = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
            lines.setdefault(key, f"{key}: {rule}, received {value!r}.")
    return list(lines.values())
