"""Where strings become values: command lines and YAML files. Nothing here evaluates a string."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_llm.errors import RequestError, all_problems, unknown_name
from recbole_llm.settings import text_keys

NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


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


def whole_number(text: str, *, least: int = 0) -> int | None:
    """Return the whole number that a word is, or None where it is none or too small."""
    try:
        number = int(text) if text.isdecimal() else -1
    except ValueError:  # Python reads no number of more than 4,300 digits
        return None
    return number if number >= least else None


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


def split_command(
    argv: Sequence[str],
    *,
    place: str,
    wants: str,
    options: Sequence[str],
    flags: Sequence[str] = (),
    num_words: int | None = 1,
    problems: list[str] | None = None,
) -> tuple[list[str], dict[str, str], set[str]]:
    """Split the words of a command of ours into plain words, options with values, and flags.

    Args:
        argv: The words behind the command.
        place: The command, for messages.
        wants: What its plain words are, as ``one suite``.
        options: Options that have a value: ``--name=value`` or ``--name value``.
        flags: Options that have none.
        num_words: How many plain words there must be; any number of them if None.
        problems: Gets what is wrong, for a caller that looks for more before it raises.

    Raises:
        RequestError: If anything is wrong; all that is wrong at once.
    """
    plain, given, chosen, found = [], {}, set(), []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            plain.append(word)
        elif name in flags:
            chosen.add(name)
            found += [f"--{name}: takes no value."] if equals else []
        elif name not in options:
            known = [f"--{one}" for one in (*options, *flags)]
            found.append(unknown_name("option", f"--{name}", known))
        else:
            if not equals and rest and not rest[0].startswith("--"):
                value = rest.pop(0)
            if not value or name in given:
                found.append(f"--{name}: must have one value. Write --{name}=VALUE.")
            given[name] = value
    if num_words is not None and len(plain) != num_words:
        found.append(f"name {wants}, received {' '.join(plain) or 'none'}.")
    if problems is not None:
        problems += found
    elif found:
        raise RequestError(all_problems(place, found))
    return plain, given, chosen


def run_named(words: Sequence[str], given: Mapping[str, str], problems: list[str]) -> str:
    """Return the run that a command line names: RUN, or --run=RUN, once.

    Args:
        words: Its plain words.
        given: Its options.
        problems: Gets what is wrong.
    """
    runs = [*words, *([given["run"]] if "run" in given else [])]
    if len(runs) == 1:
        return runs[0]
    received = " ".join(runs) or "none"
    problems.append(f"name one run directory, as RUN or --run=RUN; received {received}.")
    return ""


SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is faster, where it was built


class StrictLoader(SafeLoader):  # type: ignore[misc,valid-type]
    """YAML without repeated keys and dates, in which 1e-3 is a number as in RecBole.

    The value of a text setting is its text as written: a revision 12345678 is no number.
    """


StrictLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

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
    for key_node, value_node in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if key_node.value in text_keys() and value_node.tag in NUMBERS:
            value_node.tag = "tag:yaml.org,2002:str"
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
