"""EfficientNet-Lite0 to Lite2 in torch with the names of `efficientnet_lite_pytorch`."""

from torch import nn
from torch.nn import functional as F

# Repeats, width, kernel size, stride and expansion of each group of blocks.
GROUPS = [
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
]
LITE1 = [
    (1, 16, 3, 1, 1),
    (3, 24, 3, 2, 6),
    (3, 40, 5, 2, 6),
    (4, 80, 3, 2, 6),
    (4, 112, 5, 1, 6),
    (5, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
]
LITE2 = [
    (1, 16, 3, 1, 1),
    (3, 24, 3, 2, 6),
    (3, 48, 5, 2, 6),
    (4, 88, 3, 2, 6),
    (4, 120, 5, 1, 6),
    (5, 208, 5, 2, 6),
    (1, 352, 3, 1, 6),
]


class SameConv2d(nn.Conv2d):
    """Pads as TensorFlow does: what is missing, the odd zero to the right and below."""

    def forward(self, x):
        pads = []
        for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            needed = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads = [needed // 2, needed - needed // 2, *pads]
        return super().forward(F.pad(x, pads))


def norm(features):
    return nn.BatchNorm2d(features, eps=1e-3)


class Block(nn.Module):
    def __init__(self, in_features, features, kernel, stride, expansion):
        super().__init__()
        width = in_features * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(in_features, width, 1, bias=False)
            self._bn0 = norm(width)
        self._depthwise_conv = SameConv2d(width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = norm(width)
        self._project_conv = nn.Conv2d(width, features, 1, bias=False)
        self._bn2 = norm(features)
        self.expands = expansion > 1
        self.skips = stride == 1 and in_features == features

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    def __init__(self, num_classes, groups=GROUPS):
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = norm(32)
        features, blocks = 32, []
        for repeats, width, kernel, stride, expansion in groups:
            for index in range(repeats):
                blocks.append(Block(features, width, kernel, 1 if index else stride, expansion))
                features = width
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(features, 1280, 1, bias=False)
        self._bn1 = norm(1280)
        self._fc = nn.Linear(1280, num_classes)

    def forward(self, x):
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        return self._fc(F.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))
