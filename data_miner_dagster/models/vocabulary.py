"""Match phrases exactly to the names of a detector with a fixed class list.

Belongs here: matching, and the one-line error if nothing matches. Nothing is guessed: a phrase matches a class only if
it is the class's name, its plural or singular, the name with an article, or a listed synonym. A narrower word is not a
synonym (a taxi is a car, but not every car is a taxi), and neither is a broader one.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import ClassPrompts
from data_miner_dagster.models.architectures import resolve
from data_miner_dagster.models.registry import BUILT_IN, ModelEntry

# Names of the COCO classes in Darknet and in the COCO paper, and other common words for exactly the same thing.
_SYNONYMS: Final = (
    frozenset({"person", "people", "human", "human being"}),
    frozenset({"bicycle", "bike", "pedal cycle"}),
    frozenset({"car", "automobile"}),
    frozenset({"motorbike", "motorcycle", "motor bike"}),
    frozenset({"aeroplane", "airplane", "plane", "aircraft"}),
    frozenset({"truck", "lorry"}),
    frozenset({"traffic light", "traffic signal"}),
    frozenset({"fire hydrant", "hydrant"}),
    frozenset({"cow", "cattle"}),
    frozenset({"backpack", "rucksack"}),
    frozenset({"frisbee", "flying disc"}),
    frozenset({"sofa", "couch"}),
    frozenset({"pottedplant", "potted plant"}),
    frozenset({"diningtable", "dining table"}),
    frozenset({"tvmonitor", "tv monitor", "tv", "television"}),
    frozenset({"cell phone", "mobile phone", "cellphone"}),
    frozenset({"donut", "doughnut"}),
    frozenset({"hot dog", "hotdog"}),
    frozenset({"refrigerator", "fridge"}),
    frozenset({"teddy bear", "teddy"}),
    frozenset({"hair drier", "hair dryer"}),
)
_IRREGULAR_PLURALS: Final[Mapping[str, str]] = {
    "mice": "mouse",
    "knives": "knife",
    "buses": "bus",
    "busses": "bus",
    "skis": "ski",
}
_ARTICLE: Final = re.compile(r"^(?:a|an|the|some)\s+")


def check_classes(entry: ModelEntry, classes: Sequence[ClassPrompts], pictured: Collection[str] = ()) -> None:
    """Ensure that a detector knows every class, before any work starts and without loading weights.

    A detector passes if it accepts any phrase, or if only its weights contain its names. In the latter case, `detect`
    checks the classes.

    Args:
        entry: the detector.
        classes: the requested classes.
        pictured: the names of the classes that have exemplars.

    Raises:
        ConfigError: a class matches none of the detector's names, two classes match the same name, or a class has
            exemplars that the detector does not accept.
        ModelError: the detector has fixed names that cannot be read.
    """
    if pictured and (why := why_no_exemplars(entry)) is not None:
        has, it = ("has", "it") if len(pictured) == 1 else ("have", "them")
        raise ConfigError(
            f"detection.classes: {', '.join(map(repr, pictured))} {has} `images`, but {why}; describe {it} in "
            "words instead, or choose OWLv2 or a YOLOE model (docs/detection.md)"
        )
    known_names = names_of(entry)
    if known_names is not None:
        match_vocabulary(known_names, classes, detector=entry.name)


def why_no_exemplars(entry: ModelEntry) -> str | None:
    """Return why a detector accepts no exemplars, or None if it accepts them."""
    if entry.exemplars is None:
        return f"detector {entry.name!r} does not accept exemplars"
    why: str | None = resolve(entry.exemplars)(entry)
    return why


def names_of(entry: ModelEntry) -> Sequence[str] | None:
    """Return a detector's class names, or None if it accepts any phrase or only its weights contain the names.

    Raises:
        ModelError: the detector has fixed names that cannot be read.
    """
    if entry.class_names is None:
        return None
    names: Sequence[str] | None = resolve(entry.class_names)(entry)
    return names


def spellings(phrase: str) -> frozenset[str]:
    """Return the forms of a phrase that may match a class: its plain form, singular and synonyms, in lower case."""
    plain = " ".join(re.sub(r"[_\-\s]+", " ", phrase.casefold()).split()).rstrip(".")
    plain = _ARTICLE.sub("", plain)
    forms = {plain, *_singulars(plain)}
    for same in _SYNONYMS:
        if forms & same:
            forms |= same
    return frozenset(forms)


def _singulars(phrase: str) -> set[str]:
    head, _, last = phrase.rpartition(" ")
    singulars = set()
    if last in _IRREGULAR_PLURALS:
        singulars.add(_IRREGULAR_PLURALS[last])
    elif last.endswith("ies") and len(last) > 4:
        singulars.add(last[:-3] + "y")
    elif last.endswith("s") and not last.endswith("ss") and len(last) > 3:
        singulars.add(last[:-1])
        if last.endswith(("ches", "shes", "sses", "xes", "oes")):
            singulars.add(last[:-2])
    return {f"{head} {singular}".strip() for singular in singulars}


def match_vocabulary(
    known_names: Sequence[str], classes: Sequence[ClassPrompts], *, detector: str
) -> dict[int, tuple[int, str]]:
    """Return {index of a known name: (index of the requested class, phrase that matched)}.

    Phrases without a match are ignored if another phrase of their class matches, so prompts written for an
    open-vocabulary detector remain usable. If several phrases of a class match a name, the first one is returned.

    Args:
        known_names: the detector's names, in the order of its outputs.
        classes: the requested classes.
        detector: the detector's registry name, for the error message.

    Raises:
        ConfigError: a class matches none of the detector's names, or two classes match the same name.
    """
    known_forms = [spellings(name) for name in known_names]
    owners = {prompt: class_index for class_index, wanted in enumerate(classes) for prompt in wanted.prompts}
    matched: dict[int, tuple[int, str]] = {}
    missing: list[str] = []
    for class_index, wanted in enumerate(classes):
        is_found = False
        for prompt in wanted.prompts:
            forms = spellings(prompt)
            for known_index, known in enumerate(known_forms):
                owner = owners.get(known_names[known_index], class_index)
                if not forms & known or (prompt in known_names and owner != class_index):
                    continue  # if both `a-b` and `a b` are names, each stands for itself
                is_found = True
                holder = matched.setdefault(known_index, (class_index, prompt))[0]
                if holder != class_index:
                    raise ConfigError(
                        f"detection.classes: {classes[holder].class_name!r} and {wanted.class_name!r} both match the "
                        f"class {known_names[known_index]!r} of detector {detector!r}; change the phrases of one of "
                        "them"
                    )
        if not is_found:
            missing.append(_what_is_missing(wanted, known_names))
    if missing:
        config = "" if detector in BUILT_IN else " --config FILE"
        raise ConfigError(
            f"detection.classes: detector {detector!r} detects only its own classes ({len(known_names)}, listed by "
            f"`data-miner models classes {detector}{config}`): {'; '.join(missing)}; use one of these classes, or an "
            "open-vocabulary detector (`data-miner models list`)"
        )
    return matched


def _what_is_missing(wanted: ClassPrompts, known_names: Sequence[str]) -> str:
    """Return why a class matches no name, with a suggestion if there is one."""
    name = wanted.class_name
    if list(wanted.prompts) == [name]:
        lacking = f"{name!r} is not one of them"
    else:
        lacking = f"{name!r} matches none of them with its phrases ({', '.join(map(repr, wanted.prompts))})"
        if any(spellings(name) & spellings(known) for known in known_names):
            return f"{lacking}, but {name!r} itself does: write `{name}: []`"
    near = [
        known
        for prompt in wanted.prompts
        for known in difflib.get_close_matches(prompt.casefold(), known_names, n=1, cutoff=0.75)
    ]
    return lacking + (f" (did you mean {near[0]!r}?)" if near else "")


_COCO: Final = (
    "person,bicycle,car,motorbike,aeroplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,sofa,"
    "pottedplant,bed,diningtable,toilet,tvmonitor,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_CLASS_NAMES: Final = tuple(_COCO.split(","))
"""The names in Darknet's `coco.names`. They are repeated here so that a class list can be checked without the file."""
