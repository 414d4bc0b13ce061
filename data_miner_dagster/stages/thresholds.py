"""Look up thresholds for the encoder in use, and reject thresholds that were set for another encoder."""

from collections.abc import Mapping

from data_miner_dagster.config.base import Margin, Threshold
from data_miner_dagster.domain.errors import ConfigError


def value_for_encoder(
    field: str, given: Threshold | Margin | None, encoder_name: str, *, remedy: str = ""
) -> float | None:
    """Return the value for an encoder, or None if no value is given.

    Args:
        field: the name of the field in the project file.
        given: one number, or one number per encoder.
        encoder_name: the registry name of the encoder in use.
        remedy: the text to append to the error message, such as how to improve the value afterwards.

    Raises:
        ConfigError: values are given per encoder, but none for this encoder.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return float(given)
    if encoder_name not in given:
        raise ConfigError(
            f"{field} is given for {', '.join(sorted(given))} but not for {encoder_name!r}, the encoder in use; "
            f"add a value for this encoder, or remove the field to use its default{remedy}"
        )
    return float(given[encoder_name])


def check_same_scale(
    section: str,
    unnamed: Mapping[str, float],
    encoder_name: str,
    earlier_encoder_name: str,
    earlier_unnamed: Mapping[str, float],
) -> None:
    """Reject thresholds that were set for another encoder.

    Args:
        section: the name of the section of the project file.
        unnamed: the numbers that the section sets without naming an encoder, by field.
        encoder_name: the registry name of the encoder in use.
        earlier_encoder_name: the encoder that was used for the project's last decisions.
        earlier_unnamed: the numbers that the section set without naming an encoder for the project's last decisions, by
            field.

    Raises:
        ConfigError: the encoder has changed, but at least one number has not.
    """
    if encoder_name == earlier_encoder_name:
        return
    carried = [name for name, number in unnamed.items() if earlier_unnamed.get(name) == number]
    if carried:
        name = carried[0]
        number = earlier_unnamed[name]
        raise ConfigError(
            f"{section}.{name} = {number:g} was set for encoder {earlier_encoder_name!r}, but {encoder_name!r} is now "
            f"in use, and thresholds do not carry over between encoders; remove the setting to use the default "
            f"of {encoder_name!r}, or, if the number suits it, name the encoder: {{{encoder_name}: {number:g}}}"
        )
