"""Stages: the ordered checks that a prompt and an answer pass in the guard."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rlhf_operator.api.schema import ApiType, DecimalText, Digest, Duration, Keyed, Name, rule

Category = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$")]
Pattern = Annotated[str, Field(min_length=1, max_length=512)]
Keyword = Annotated[str, Field(min_length=1, max_length=128)]
Label = Annotated[str, Field(min_length=1, max_length=128)]
Port = Annotated[int, Field(ge=1, le=65_535)]

StageType = Literal["Rules", "Model", "External"]
Direction = Literal["Input", "Output"]
Action = Literal["Block", "Redact", "Flag"]
FailurePolicy = Literal["Closed", "Open"]
Recognizer = Literal[
    "Email", "Phone", "CreditCard", "IBAN", "IPAddress", "SocialSecurityNumber", "NationalID",
    "Secret",
]  # fmt: skip
Heuristic = Literal[
    "Jailbreak", "PromptInjection", "Obfuscation", "Bias", "Harassment", "SelfHarm", "Goading",
    "Violence", "IllicitGoods", "Malware", "Phishing",
]  # fmt: skip


class TextLimits(ApiType):
    """How large and how monotonous a text may be."""

    characters: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """The longest text, in characters. Of a stage that blocks: a longer text is not read at all,
    by no stage, so that nobody can keep the guard busy with it."""

    repetition: DecimalText | None = None
    """The largest share of a text, from 0 to 1, that repeats what stands before it: one word or
    phrase over and over is a way to make a model leave its training. A word counts as repeated
    where three in a row stood before (without spaces: eight letters). Texts under 200 characters
    are never repetitive, and in those under 1000 half as much that is new is enough."""

    @rule("has(self.characters) || has(self.repetition)", "limits need characters or repetition")
    def limits_something(self) -> bool:
        """Tell whether there is a limit at all."""
        return self.characters is not None or self.repetition is not None


class GuardRule(ApiType):
    """What means one category of unwanted text: words, patterns, or a recogniser of ours."""

    category: Category
    """Name of the category, as metrics and SLOs show it, such as `bias` or `self-harm`."""

    keywords: Annotated[tuple[Keyword, ...], Field(max_length=256)] | None = None
    """Words or phrases that match where they stand as whole words, whatever their case, and behind
    the usual disguises: look-alike letters, digits for letters, letters that are set apart,
    repeated or drawn over, escapes."""

    patterns: Annotated[tuple[Pattern, ...], Field(max_length=64)] | None = None
    """Regular expressions of linear time (RE2): without look-around and back-references.
    They see lower-case text, in Unicode form NFKC, and ignore case."""

    recognizers: Annotated[tuple[Recognizer, ...], Field(min_length=1, max_length=8)] | None = None
    """Personal data and secrets by their form, with their checksums where they have one. What looks
    like many other numbers is found only where a word nearby says what it is. `IPAddress` means
    addresses of the open net; `NationalID` knows those of some twenty countries."""

    heuristics: Annotated[tuple[Heuristic, ...], Field(min_length=1, max_length=11)] | None = None
    """Known shapes of attacks: talking the model out of its instructions or into telling them
    (`Jailbreak`), orders hidden in quoted content (`PromptInjection`), text disguised from filters
    (`Obfuscation`); and of harm, in thirteen languages: demeaning a group (`Bias`), insults and
    threats (`Harassment`), who wants to die or to hurt themselves (`SelfHarm`), who tells others to
    (`Goading`), asking for help with `Violence`, `IllicitGoods`, `Malware` or `Phishing`. Only
    several signs close together count, never a single word, and what is told of, asked about or
    warned of passes."""

    limits: TextLimits | None = None
    """Texts that are too long or repeat themselves."""

    @rule(
        "has(self.keywords) || has(self.patterns) || has(self.recognizers) || "
        "has(self.heuristics) || has(self.limits)",
        "a rule needs keywords, patterns, recognizers, heuristics or limits",
    )
    def says_something(self) -> bool:
        """Tell whether the rule can ever match."""
        ways = (self.keywords, self.patterns, self.recognizers, self.heuristics, self.limits)
        return any(way is not None for way in ways)


class ServiceRef(ApiType):
    """A Service of the model's own namespace."""

    name: Name
    """Name of the Service."""

    port: Port
    """Its port."""

    path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/:?=&%-]*$", max_length=256)] = "/"
    """The path that is asked; Triton's is known and needs none."""


class SecretKey(ApiType):
    """One key of a Secret of the model's own namespace."""

    secret_name: Name
    """Name of the Secret."""

    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]{1,253}$", max_length=253)]
    """The key whose value is the credential."""


class Threshold(ApiType):
    """From which score on a category is found."""

    category: Category
    """The category, by our name."""

    label: Label | None = None
    """Its name in the classifier or service, such as `S1` or `hate/threatening`; the category's
    own where unset."""

    at_least: DecimalText | None = None
    """The score from which on it counts; without it the classifier's own word counts."""


Thresholds = Annotated[tuple[Threshold, ...], Keyed("category", 64)]


class Classifier(ApiType):
    """A classifier on a Triton of the same namespace."""

    service: ServiceRef
    """The Service of its Triton, at the HTTP port."""

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=128)]
    """Name of the model in its repository."""

    digest: Digest | None = None
    """The digest of the classifier's artefact. A new one starts the evidence of running rollouts
    anew, because two classifiers do not count alike."""

    reads: Literal["Scores", "LlamaGuard"] = "Scores"
    """How its output is understood. `Scores`: a tensor `scores` with one number for each of
    `labels`. `LlamaGuard`: text, `safe` or `unsafe` and then the labels."""

    labels: Annotated[tuple[Label, ...], Field(max_length=64)] = ()
    """What the scores stand for, in their order."""

    categories: Thresholds
    """What to look for; labels that are not named here are ignored, except that `unsafe` without
    a known label is found under the category `other`."""

    @rule(
        "(has(self.reads) && self.reads != 'Scores') || "
        "(has(self.labels) && size(self.categories) > 0 && "
        "self.categories.all(c, has(c.atLeast) && "
        "(has(c.label) ? c.label : c.category) in self.labels))",
        "Scores need labels and categories, and each category one of the labels and atLeast",
    )
    def scores_are_known(self) -> bool:
        """Tell whether each category has its score and its threshold."""
        if self.reads != "Scores":
            return True
        return len(self.categories) > 0 and all(
            each.at_least is not None and (each.label or each.category) in self.labels
            for each in self.categories
        )

    @rule(
        "!has(self.reads) || self.reads != 'LlamaGuard' || "
        "((!has(self.labels) || size(self.labels) == 0) && "
        "self.categories.all(c, !has(c.atLeast)))",
        "LlamaGuard names what it finds by itself and gives no scores: no labels, no atLeast",
    )
    def words_have_no_scores(self) -> bool:
        """Tell whether nothing is asked that a word cannot say."""
        if self.reads != "LlamaGuard":
            return True
        return not self.labels and all(each.at_least is None for each in self.categories)


class JsonMapping(ApiType):
    """How a service of any kind is asked and understood: JSON in, JSON out."""

    text: Annotated[str, Field(pattern=r"^(/[^/~]{1,64}){1,8}$", max_length=256)] = "/text"
    """Where the text goes in the request, as a JSON pointer."""

    flagged: Annotated[str, Field(pattern=r"^(/[^/~]{1,64}){1,8}$", max_length=256)]
    """Where the answer says, by true or false, whether something was found."""

    categories: Annotated[str, Field(pattern=r"^(/[^/~]{1,64}){1,8}$", max_length=256)] | None = (
        None
    )
    """Where the answer has an object of labels and scores or booleans, or a list of labels."""


class External(ApiType):
    """A moderation service beside or outside the cluster."""

    service: ServiceRef | None = None
    """A Service of the same namespace, or:"""

    provider: Name | None = None
    """the name of a service that the operator's configuration lists: a team names no address."""

    contract: Literal["OpenAIModeration", "AzureContentSafety", "LiteLLM", "JSON"]
    """What the service speaks: OpenAI's moderation schema, Azure AI Content Safety's
    `text:analyze`, LiteLLM's generic guardrail API, or plain JSON by `mapping`."""

    mapping: JsonMapping | None = None
    """For contract JSON: where the text goes and where the verdict is."""

    credentials: SecretKey | None = None
    """The credential that is sent with each request, in the header that the contract has."""

    categories: Thresholds = ()
    """What to look for and from which score on; all that the service flags when empty, under the
    service's own names."""

    @property
    def names_categories(self) -> bool:
        """Return whether the service says what it found, and not only that it did."""
        if self.mapping is not None:
            return self.mapping.categories is not None
        return self.contract != "LiteLLM"

    @rule(
        "self.contract != 'LiteLLM' && !(has(self.mapping) && !has(self.mapping.categories)) || "
        "!has(self.categories) || "
        "(size(self.categories) <= 1 && self.categories.all(c, !has(c.atLeast)))",
        "a service that names no categories finds one at most, and gives it no score",
    )
    def categories_can_be_told(self) -> bool:
        """Tell whether the service says what the categories need."""
        if self.names_categories:
            return True
        return len(self.categories) <= 1 and all(each.at_least is None for each in self.categories)

    @rule(
        "has(self.service) != has(self.provider)", "external needs exactly one of service, provider"
    )
    def is_somewhere(self) -> bool:
        """Tell whether there is exactly one place to ask."""
        return (self.service is None) != (self.provider is None)

    @rule(
        "(self.contract == 'JSON') == has(self.mapping)",
        "mapping goes with contract JSON, and only with it",
    )
    def is_understood(self) -> bool:
        """Tell whether the answer can be read."""
        return (self.contract == "JSON") == (self.mapping is not None)


class Stage(ApiType):
    """One check that text passes on its way in or out."""

    name: Name
    """Name of the stage, unique in the model."""

    type: StageType
    """What the stage judges with. `Rules`: words, patterns and recognisers, in the guard itself.
    `Model`: a classifier on Triton. `External`: a moderation service."""

    applies_to: Annotated[tuple[Direction, ...], Field(min_length=1, max_length=2)]
    """Which text the stage sees: `Input` (the prompt), `Output` (the answer), or both."""

    action: Action
    """`Block` answers with a refusal instead; `Redact` puts the category's name in the place of
    what was found and lets the rest pass (where no place is known, as for limits, in the place of
    the whole text); `Flag` lets the text pass and counts it."""

    rules: Annotated[tuple[GuardRule, ...], Keyed("category", 32)] | None = None
    """For type Rules: what to look for; one entry per category."""

    model: Classifier | None = None
    """For type Model: the classifier."""

    external: External | None = None
    """For type External: the service."""

    failure_policy: FailurePolicy = "Closed"
    """What happens to a text that the stage could not judge: `Closed` withholds it, `Open` lets it
    pass and counts a bypass, which every policy can have as an objective (GuardBypassRate)."""

    timeout: Duration = "300ms"
    """How long the stage may take for one text; Rules take no time that counts."""

    @rule(
        "has(self.rules) == (self.type == 'Rules') && has(self.model) == (self.type == 'Model') && "
        "has(self.external) == (self.type == 'External')",
        "a stage has exactly the field of its type: rules, model or external",
    )
    def has_its_type(self) -> bool:
        """Tell whether the stage says how to judge."""
        given = (self.rules is not None, self.model is not None, self.external is not None)
        return given == tuple(self.type == name for name in ("Rules", "Model", "External"))

    @rule(
        "self.action != 'Redact' || self.type == 'Rules' || "
        "(has(self.external) && self.external.contract == 'LiteLLM')",
        "only Rules and the LiteLLM contract say which part of a text to redact",
    )
    def can_redact(self) -> bool:
        """Tell whether a redaction would know its place."""
        by_service = self.external is not None and self.external.contract == "LiteLLM"
        return self.action != "Redact" or self.type == "Rules" or by_service
