"""Edit individual settings in the text of a project file. All other text, such as comments, stays unchanged."""

from collections.abc import Mapping
from typing import Final

import yaml

from data_miner_dagster.domain.errors import ConfigError

_BY_HAND: Final = "run the command again without --write, and copy the printed settings into the file"


def one_line_yaml(value: object) -> str:
    """Convert a setting's value to one line of YAML."""
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return dumped.removesuffix("...\n").strip()


def with_settings(text: str, section: str, settings: Mapping[str, object]) -> str:
    """Return the text of a project file with new values for some settings in one section.

    Raises:
        ConfigError: the text is not YAML or cannot be edited safely, or the section is missing or empty.
    """
    try:
        before = yaml.safe_load(text)
        for name, value in settings.items():
            text = _with_setting(text, section, name, value)
        after = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the file cannot be changed ({' '.join(str(error).split())}); {_BY_HAND}") from error
    if after != {**before, section: {**before[section], **settings}}:  # for example, an anchor is used elsewhere
        raise ConfigError(f"the section `{section}` of the file cannot be changed safely; {_BY_HAND}")
    return text


def _with_setting(text: str, section: str, name: str, value: object) -> str:
    found = _section_of(yaml.compose(text, yaml.SafeLoader), section)
    for key, node in found.value:
        if key.value == name:
            return text[: node.start_mark.index] + one_line_yaml(value) + text[_end_of(node) :]
    if not found.value:
        raise ConfigError(f"the section `{section}` is empty; {_BY_HAND}")
    first, _ = found.value[0]
    start = first.start_mark.index
    setting = f"{name}: {one_line_yaml(value)}"
    between = ", " if found.flow_style else "\n" + " " * first.start_mark.column
    return text[:start] + setting + between + text[start:]


def _section_of(root: yaml.Node | None, section: str) -> yaml.MappingNode:
    for key, node in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == section and isinstance(node, yaml.MappingNode):
            return node
    raise ConfigError(f"the file has no section `{section}`; {_BY_HAND}")


def _end_of(node: yaml.Node) -> int:
    """Return the position where a value ends. YAML reports the end of a block at the start of the next token."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end_of(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return end
