"""Settings for choosing a part of a project's images for a release."""

from typing import Literal

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class SelectionConfig(ConfigModel):
    """The `releasing.select` section of a project: a budget, and the criteria for choosing images.

    The limits per video and channel always apply. Without `diverse` and `uncertain`, the images most similar to their
    prompts are chosen.
    """

    count: int = Field(ge=1)
    """The maximum number of images."""
    diverse: bool = False
    """Choose images that differ most from each other, by the embeddings of deduplication."""
    uncertain: bool = False
    """Prefer images with a box just above the threshold of its class."""
    balance: Literal["class"] | None = None
    """`class`: first choose an equal number of images of each class, starting with the rarest. A class with fewer
    images contributes all of them."""
    max_per_video: int | None = Field(default=None, ge=1)
    """The most images of one video. null: no limit."""
    max_per_channel: int | None = Field(default=None, ge=1)
    """The most images of one channel. A video whose channel is unknown counts as a channel of its own. null: no limit.
    """
