"""The samples of fine-tuning: one mask per image and epoch, drawn from proposal databases."""

from __future__ import annotations

from torch.utils.data import Dataset

from agg_pipeline.training.proposal_masks import ProposalMasks
from agg_pipeline.training.training_sample import Sample, make_sample
from schemas.training import FinetuneConfig
from stages.draws import generator


class ProposalSamples(Dataset[Sample]):
    """The samples of fine-tuning by (epoch, image); each depends on these and the seed alone."""

    def __init__(self, masks: ProposalMasks, config: FinetuneConfig) -> None:
        self.masks = masks
        self.config = config

    def __len__(self) -> int:
        """Samples per epoch: one per image."""
        return len(self.masks.rows.images)

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        config, rows = self.config, self.masks.rows
        epoch, image = index
        rng = generator(config.training.seed, "sample", epoch, image)
        row = rows.draw(image, rng) if config.sampling == "image" else rows.draw_any(rng)
        drawn = self.masks.open(row)
        table_row = drawn.bin - 1 if config.granularity else -1
        return make_sample(drawn, config.augment, config.training.click_decay, rng, row=table_row)
