from pydantic import BaseModel

from data_miner_dagster.config.reference import DOCUMENT, models_in, reference_text
from data_miner_dagster.config.settings import ProjectFile


def test_reference_text__the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference_text(), "run `make docs`"


def test_reference_text__examples_by_hand() -> None:
    text = reference_text()
    assert "| `platform.extraction.every_seconds` | number, > 0 | `1.0` | For `time`: the interval between" in text
    assert "| `sourcing.sources[].paths` | list of text, at least 1 | required | Files, folders or globs. |" in text
    assert "### `sourcing.sources[] (type: files)`" in text


def test_reference_text__every_key_of_every_model_has_a_row_and_a_meaning() -> None:
    def models(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
        if model not in seen:
            seen.add(model)
            for field in model.model_fields.values():
                for nested in models_in(field.annotation):
                    models(nested, seen)
        return seen

    text = reference_text()
    found = models(ProjectFile, set()) - {ProjectFile}
    assert len(found) > 10
    for model in found:
        for name, field in model.model_fields.items():
            assert f"{name}` |" in text, f"{model.__name__}.{name}"
            assert field.description or name == "type", f"{model.__name__}.{name} has no docstring"
