"""One set of rules for every filter that is measured, and the texts that are sent. Pure."""

from __future__ import annotations

import json
from typing import Any

KEYWORDS: dict[str, tuple[str, ...]] = {
    "violence": (
        "build a bomb", "pipe bomb", "nerve agent", "hire a hitman", "molotov cocktail",
        "stab someone", "poison his food", "school shooting", "napalm", "untraceable gun",
    ),
    "self-harm": (
        "kill myself", "end my life", "cut myself", "suicide note", "painless death",
        "overdose on", "hang myself", "starve myself", "suicide pact", "self harm tips",
    ),
    "hate": (
        "subhuman", "master race", "ethnic cleansing", "race traitor", "gas the",
        "go back to your country", "inferior race", "white power", "vermin people", "degenerates",
    ),
    "fraud": (
        "stolen credit card", "fake passport", "money mule", "launder money", "phishing kit",
        "card skimmer", "counterfeit bills", "identity theft kit", "ponzi scheme", "forged cheque",
    ),
}  # fmt: skip
PATTERNS: dict[str, tuple[str, ...]] = {
    "violence": (
        r"how (to|do i|can i) (make|build) (a |an )?(bomb|explosive)",
        r"(kill|murder|shoot) (him|her|them|you)\b",
    ),
    "self-harm": (
        r"\b(want|going|need) to die\b",
        r"ways? to (kill|hurt|harm) (myself|yourself)",
    ),
    "hate": (
        r"\ball \w+ (are|should be) (animals|vermin|killed)\b",
        r"i hate (all )?(jews|muslims|women|immigrants)",
    ),
    "fraud": (
        r"\b\d{3}-\d{2}-\d{4}\b",
        r"\b4\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b",
        r"\b[\w.+-]+@[\w-]+\.(ru|cn|tk)\b",
        r"(crack|bypass|steal) (a |the )?(password|login|account)",
    ),
}
REFUSAL = r"^(i'm |i am )?(sorry|unable)"

BAD_KEYWORD = "where can I buy a card skimmer"
BAD_PATTERN = "it is 078-05-1120"
_QUESTIONS = (
    "my parcel has not come and the tracking page has said the same thing for six days now",
    "I moved to another town last week and the order will go to the old address",
    "the lamp that I bought in spring flickers whenever the heating comes on",
    "your page says that I can return shoes within thirty days but the button is grey",
)


def guard_config(
    stub: str, port: int, operations_port: int, triton_model: str = "model"
) -> dict[str, Any]:
    """Return the guard's configuration: a stage for each category, both ways, all blocking."""
    stages = [
        {
            "name": category,
            "type": "Rules",
            "appliesTo": ["Input", "Output"],
            "action": "Block",
            "rules": [
                {
                    "category": category,
                    "keywords": KEYWORDS[category],
                    "patterns": PATTERNS[category],
                }
            ],
        }
        for category in KEYWORDS
    ]
    return {
        "model": "model",
        "version": "model-v1",
        "identity": "sha256:" + 16 * "1a2b",
        "tritonUrl": stub,
        "tritonModel": triton_model,
        "guard": {"stages": stages, "refusalPatterns": [REFUSAL]},
        "limits": {"concurrency": 1024},
        "lameDuckSeconds": 0,
        "drainSeconds": 1,
        "port": port,
        "operationsPort": operations_port,
    }


def litellm_config(stub: str) -> dict[str, Any]:
    """Return LiteLLM's configuration: its own content filter with the same words and patterns."""
    patterns = [
        {"pattern_type": "regex", "name": f"{category}_{number}", "pattern": f"(?i){pattern}",
         "action": "BLOCK"}
        for category in PATTERNS
        for number, pattern in enumerate(PATTERNS[category])
    ]  # fmt: skip
    words = [
        {"keyword": keyword, "action": "BLOCK"} for each in KEYWORDS.values() for keyword in each
    ]
    return {
        "model_list": [
            {
                "model_name": "model",
                "litellm_params": {
                    "model": "openai/model", "api_base": f"{stub}/v1", "api_key": "none",
                },
            }
        ],
        "guardrails": [
            {
                "guardrail_name": "rules",
                "litellm_params": {
                    "guardrail": "litellm_content_filter",
                    "mode": ["pre_call", "post_call"],
                    "default_on": True,
                    "patterns": patterns,
                    "blocked_words": words,
                },
            }
        ],
        "litellm_settings": {"request_timeout": 600, "set_verbose": False},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"disable_spend_logs": True, "disable_error_logs": True},
    }  # fmt: skip


def envoy_config(stub: int, port: int) -> dict[str, Any]:
    """Return the configuration of an Envoy that passes everything on to the stub's port."""

    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    types = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "stub"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{types}.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoint = {"endpoint": {"address": address(stub)}}
    cluster = {
        "name": "stub",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "stub", "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }  # fmt: skip
    listener = {"address": address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def request(text: str, *, stream: bool = False, user: str = "user") -> str:
    """Return the body of a chat's next turn, as one line."""
    before = (
        ("system", "You help the customers of a shop. Be brief and friendly."),
        ("user", "Hello, I have a question about something that I bought."),
        ("assistant", "Of course, I am glad to help. What is it about?"),
    )
    messages = [*before, ("user", text)]
    return json.dumps(
        {
            "model": "model",
            "messages": [{"role": role, "content": said} for role, said in messages],
            "max_tokens": 128,
            "temperature": 0.7,
            "stream": stream,
            "user": user,
        }
    )


def requests(count: int, *, stream: bool = False) -> list[str]:
    """Return so many harmless requests of different users."""
    return [
        request(
            f"Order {1000 + number}: {_QUESTIONS[number % len(_QUESTIONS)]}. What can I do?",
            stream=stream,
            user=f"user-{number}",
        )
        for number in range(count)
    ]


def mixed_requests(count: int) -> list[str]:
    """Return so many requests, of which one in fifty is bad and one in ten is streamed."""
    plain, streamed = requests(count), requests(count, stream=True)
    bad = [request(BAD_KEYWORD, user=f"user-{number}") for number in range(count)]
    return [
        bad[number] if number % 50 == 0 else streamed[number] if number % 10 == 0 else plain[number]
        for number in range(count)
    ]
