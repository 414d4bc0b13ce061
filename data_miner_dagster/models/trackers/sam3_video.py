"""SAM 3's video mode through transformers: find the objects that phrases describe, and follow them with their masks.

On each frame, the detector finds the instances of the phrases. Instances from earlier frames are followed using a
memory of those frames. Frames are streamed: the network reads each frame once, and only the memory that it still needs
is kept. In transformers' implementation, streaming never withdraws an object that it has reported. Flickering objects
are recognized later (stages/detection/following.py).

Does not belong here: dividing a video into sessions, and matching their objects (stages/detection/session_objects.py).

Source: Carion et al. 2025, "SAM 3: Segment Anything with Concepts".
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.domain.tracks import SeenObject
from data_miner_dagster.models.batching import is_out_of_memory
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.hub import check_network, hub_errors, pretrained_location
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch

_LARGE_OUTPUTS: Final = ("maskmem_features", "maskmem_pos_enc", "pred_masks", "high_res_masks")
"""Tensors that a session stores for each object and frame. The network reads them only for the nearest frames."""


class Sam3VideoTracker:
    """Implements VideoTracker with SAM 3's video network."""

    def __init__(self, network: Any, processor: Any, *, name: str, fingerprint: str, device: str) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.device = device
        self.network = network.eval().to(device)
        self.processor = processor
        self.embedded: dict[str, Any] = {}
        """The embeddings of phrases. They do not depend on images, so sessions share them."""

    def start(self, classes: Sequence[ClassPrompts]) -> "Sam3VideoSession":
        """Return a new session that follows the objects of the given classes. Exemplars of the classes are ignored.

        Raises:
            ConfigError: a phrase has more tokens than the network can read.
        """
        text = self.network.config.detector_config.text_config
        for prompt in (prompt for wanted in classes for prompt in wanted.prompts):
            num_tokens = len(self.processor.tokenizer(prompt.lower())["input_ids"])
            if num_tokens > text.max_position_embeddings:
                raise ConfigError(
                    f"detection.classes: the phrase {prompt!r} has {counted(num_tokens, 'token')}, but tracker "
                    f"{self.name} reads at most {text.max_position_embeddings}; shorten the phrase"
                )
        return Sam3VideoSession(self, classes)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Run the `with` block as a forward pass: without gradients, and in bfloat16 on CUDA, as in training.

        Boxes are the bounds of masks, so the precision of bfloat16 (8 bits) does not affect them.
        """
        import torch

        on_cuda = self.device.startswith("cuda")
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=on_cuda):
            yield


class Sam3VideoSession:
    """Implements VideoSession with SAM 3's video network."""

    def __init__(self, tracker: Sam3VideoTracker, classes: Sequence[ClassPrompts]) -> None:
        self._tracker = tracker
        self._session = tracker.processor.init_video_session(inference_device=tracker.device)
        # by the text that the network reads; each phrase belongs to only one class
        self._phrases = {
            prompt.lower(): (index, prompt) for index, wanted in enumerate(classes) for prompt in wanted.prompts
        }
        tracker.processor.add_text_prompt(self._session, list(self._phrases))
        for prompt_id, text in self._session.prompts.items():
            if text in tracker.embedded:
                self._session.prompt_embeddings[prompt_id] = tracker.embedded[text]
        self._num_frames = 0

    def look_at(self, image: RgbImage) -> list[SeenObject]:
        """Return the objects in the next frame with their numbers, except objects without a visible pixel.

        Each box is the bounds of its mask. An object keeps the confidence of its first detection.

        Raises:
            ModelError: the device does not have enough memory.
        """
        height, width = image.shape[:2]
        tracker, session = self._tracker, self._session
        pixels = tracker.processor(images=image, input_data_format="channels_last", return_tensors="pt").to(
            tracker.device
        )
        try:
            with tracker.inference():
                outputs = tracker.network(session, frame_idx=self._num_frames, frame=pixels["pixel_values"][0])
                found = tracker.processor.postprocess_outputs(session, outputs, original_sizes=[[height, width]])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"model {tracker.name}: the device does not have enough memory for the next frame while "
                f"{counted(len(session.obj_ids), 'object is', 'objects are')} followed; set detection.tracking.tracker "
                "to byte_track or, if the device is a GPU, platform.models.device to cpu"
            ) from error
        tracker.embedded.update((session.prompts[number], each) for number, each in session.prompt_embeddings.items())
        self._forget()
        self._num_frames += 1
        return self._objects(found)

    def _objects(self, found: Any) -> list[SeenObject]:
        text_by_number = {number: text for text, numbers in found["prompt_to_obj_ids"].items() for number in numbers}
        objects = []
        for number, score, pixels in zip(
            found["object_ids"].tolist(), found["scores"].tolist(), found["masks"].cpu().numpy(), strict=True
        ):
            mask = Mask.of(pixels)
            if (bounds := mask.bounds_xyxy) is not None:
                class_index, prompt = self._phrases[text_by_number[number]]
                objects.append(SeenObject(number, class_index, prompt, score, bounds, mask))
        return objects

    def _forget(self) -> None:
        """Delete tensors that the network no longer reads, so that memory grows only with the number of objects.

        The network reads the memories of the last `num_maskmem` frames and of the nearest frames on which a detection
        confirmed an object. It also reads the object pointers, which are small, of further frames.
        """
        import torch

        session, now = self._session, self._num_frames
        config = self._tracker.network.config.tracker_config
        session.processed_frames[now] = torch.empty(0)  # the network reads only the number of processed frames
        nearest = max(config.num_maskmem, config.max_object_pointers_in_encoder)
        for stored in session.output_dict_per_obj.values():
            confirmed, others = stored["cond_frame_outputs"], stored["non_cond_frame_outputs"]
            for frame in [frame for frame in others if frame <= now - nearest]:
                del others[frame]
            for frame, output in others.items():
                _slim(output, keep=frame > now - config.num_maskmem)
            kept = sorted(confirmed)[-config.max_cond_frame_num :] if config.max_cond_frame_num > 0 else confirmed
            for frame, output in confirmed.items():
                _slim(output, keep=frame in kept or frame > now - config.num_maskmem)
        for inputs in session.mask_inputs_per_obj.values():
            inputs.clear()
        for of_frames in (session.obj_id_to_tracker_score_frame_wise, session.suppressed_obj_ids):
            of_frames.clear()
        for frames in session.frames_tracked_per_obj.values():
            frames.clear()


def _slim(output: "dict[str, torch.Tensor]", *, keep: bool) -> None:
    """Delete the large tensors of one object on one frame. With `keep`, delete only masks, which are not read again."""
    for name in _LARGE_OUTPUTS[2:] if keep else _LARGE_OUTPUTS:
        output.pop(name, None)


def load(entry: ModelEntry, device: str) -> Sam3VideoTracker:
    """Load an entry of architecture `sam3-video`, from a checkpoint of the video network.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded or does not match its entry.
    """
    from transformers import (
        AutoImageProcessor,
        AutoTokenizer,
        Sam2VideoVideoProcessor,
        Sam3VideoModel,
        Sam3VideoProcessor,
    )
    from transformers.models.sam3_video import modeling_sam3_video

    # If the package `kernels` is installed, transformers fetches code from the hub to fill small holes in masks.
    modeling_sam3_video.cv_utils_kernel = False
    check_network(entry)
    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        network = Sam3VideoModel.from_pretrained(location, revision=revision, use_safetensors=True)
        image_processor = AutoImageProcessor.from_pretrained(location, revision=revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(location, revision=revision, trust_remote_code=False)
    # The processor of whole videos is a required argument. It is not used, since frames are streamed.
    processor = Sam3VideoProcessor(image_processor, Sam2VideoVideoProcessor(), tokenizer)
    return Sam3VideoTracker(
        network, processor, name=entry.name, fingerprint=entry.fingerprint, device=resolve_device(device)
    )
