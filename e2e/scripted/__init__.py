"""A scripted model for the end-to-end stories: real Triton, answers that a test decides.

It is a Triton model repository (`backend: repository`), light enough for many pods on a small
machine. A share of its answers holds flagged text, and another share of those to prompts with a
trigger word.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

FLAGGED_WORD = "frobnicate"
HOW_MANY_LEFT = "how many left?"
"""A version that streams answers a prompt with this in it with how many requests were cancelled."""
_HERE = Path(__file__).parent

_CONFIG = """backend: "python"
max_batch_size: 8
input [ {{ name: "text_input", data_type: TYPE_STRING, dims: [ 1 ] }},
        {{ name: "max_tokens", data_type: TYPE_INT32, dims: [ 1 ], optional: true }},
        {{ name: "temperature", data_type: TYPE_FP32, dims: [ 1 ], optional: true }},
        {{ name: "seed", data_type: TYPE_INT64, dims: [ 1 ], optional: true }},
        {{ name: "stream", data_type: TYPE_BOOL, dims: [ 1 ], optional: true }} ]
output [ {{ name: "text_output", data_type: TYPE_STRING, dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU, count: 1 }} ]
dynamic_batching {{ }}
model_transaction_policy {{ decoupled: {streams} }}
parameters [ {{ key: "script", value: {{ string_value: {script} }} }} ]
"""


_CLASSIFIER = f"""backend: "python"
max_batch_size: 8
input [ {{ name: "text", data_type: TYPE_STRING, dims: [ 1 ] }} ]
output [ {{ name: "scores", data_type: TYPE_FP32, dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU, count: 1 }} ]
dynamic_batching {{ }}
parameters [ {{ key: "word", value: {{ string_value: "{FLAGGED_WORD}" }} }} ]
"""


@dataclass(frozen=True, kw_only=True)
class Script:
    """How a scripted version answers."""

    name: str
    """Makes artefacts differ whose answers are alike."""
    share: float = 0.0
    """The share of answers with flagged text."""
    seed: int | None = None
    """Throws the dice for which answers those are; without, they come evenly spread."""
    trigger: str = ""
    """A word in the prompt that brings flagged text."""
    triggered: float = 1.0
    """The share of such prompts to which that happens."""
    delay: float = 0.0
    """Seconds that each answer takes."""
    breaks: bool = False
    """Whether the model fails to load."""
    streams: bool = False
    """Whether it is decoupled and gives word by word to who asks with `stream`."""
    pause: float = 0.02
    """Seconds between the words of a streamed answer."""
    words: int = 0
    """The least number of words in an answer; plain ones are put before its own."""
    error_after: int | None = None
    """Fail after so many words; an answer that is not streamed fails as a whole."""


def write(script: Script, folder: Path) -> Path:
    """Write the script's Triton repository below a folder of its own and return that."""
    text = json.dumps(asdict(script), sort_keys=True)
    return _write(folder, script.name, _config(script, text), "model.py")


def write_classifier(folder: Path) -> Path:
    """Write the repository of a classifier that finds the flagged word, and return its folder."""
    return _write(folder, "classifier", _CLASSIFIER, "classifier.py")


def _write(folder: Path, name: str, config: str, source: str) -> Path:
    code = (_HERE / source).read_text()
    mark = hashlib.sha256((config + code).encode()).hexdigest()[:12]
    top = folder / f"{name}-{mark}"
    model = top / "model"
    (model / "1").mkdir(parents=True, exist_ok=True)
    (model / "config.pbtxt").write_text(config)
    (model / "1" / "model.py").write_text(code)
    return top


def _config(script: Script, text: str) -> str:
    return _CONFIG.format(script=json.dumps(text), streams=str(script.streams).lower())
