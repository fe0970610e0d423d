"""Minimal torch versions of the networks, with the published names, to compare logits with."""

import torch
from torch import nn
from torch.nn import functional as F
from torch_efficientnet import LITE1, LITE2, EfficientNetLite0


def relu_norm(norm, x):
    return F.relu(norm(x))


class Bottleneck(nn.Module):
    def __init__(self, in_features, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_features, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or in_features != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_features, 4 * width, 1, stride, bias=False),
                nn.BatchNorm2d(4 * width),
            )

    def forward(self, x):
        y = relu_norm(self.bn1, self.conv1(x))
        y = relu_norm(self.bn2, self.conv2(y))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        features = 64
        for stage, count in enumerate((3, 4, 6, 3)):
            blocks = []
            for index in range(count):
                width = 64 * 2**stage
                blocks.append(Bottleneck(features, width, 2 if stage and not index else 1))
                features = 4 * width
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(features, num_classes)

    def forward(self, x):
        x = F.max_pool2d(relu_norm(self.bn1, self.conv1(x)), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, in_features):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_features)
        self.conv1 = nn.Conv2d(in_features, 128, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x):
        return self.conv2(relu_norm(self.norm2, self.conv1(relu_norm(self.norm1, x))))


class ChannelAttention(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(features, features // 16, 1),
            nn.ReLU(),
            nn.Conv2d(features // 16, features, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


class DenseNet121(nn.Module):
    """With `attention`, channel attention follows the last dense layer, as in the public RCAN."""

    def __init__(self, num_classes, attention=False):
        super().__init__()
        self.features = features = nn.Module()
        features.conv0 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        features.norm0 = nn.BatchNorm2d(64)
        channels = 64
        for stage, count in enumerate((6, 12, 24, 16), 1):
            block = nn.Module()
            for index in range(1, count + 1):
                layer = DenseLayer(channels)
                if attention and stage == 4 and index == count:
                    layer = nn.Sequential(layer, ChannelAttention(32))
                setattr(block, f"denselayer{index}", layer)
                channels += 32
            setattr(features, f"denseblock{stage}", block)
            if stage < 4:
                transition = nn.Module()
                transition.norm = nn.BatchNorm2d(channels)
                transition.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)
                setattr(features, f"transition{stage}", transition)
                channels //= 2
        features.norm5 = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)
        if attention:
            self.classifier = nn.Sequential(nn.Dropout(0.0), self.classifier)

    def forward(self, x):
        features = self.features
        x = F.max_pool2d(relu_norm(features.norm0, features.conv0(x)), 3, 2, 1)
        for stage in range(1, 5):
            for layer in getattr(features, f"denseblock{stage}").children():
                x = torch.cat([x, layer(x)], 1)
            if stage < 4:
                transition = getattr(features, f"transition{stage}")
                x = F.avg_pool2d(transition.conv(relu_norm(transition.norm, x)), 2)
        return self.classifier(relu_norm(features.norm5, x).mean((2, 3)))


class Unit(nn.Module):
    def __init__(self, in_features, out_features, stride=1):
        super().__init__()
        width = out_features // 4
        self.bn1 = nn.BatchNorm2d(in_features)
        self.conv1 = nn.Conv2d(in_features, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_features, 1, bias=False)
        self.conv4 = nn.Conv2d(in_features, out_features, 1, stride, bias=False)
        self.same = in_features == out_features and stride == 1

    def forward(self, x):
        active = relu_norm(self.bn1, x)
        y = relu_norm(self.bn2, self.conv1(active))
        y = self.conv3(relu_norm(self.bn3, self.conv2(y)))
        return y + (x if self.same else self.conv4(active))


class AttentionModule(nn.Module):
    """The names number the units of the mask by order of execution, as the public code does."""

    def __init__(self, features, levels):
        super().__init__()
        self.levels = levels
        self.first_residual_blocks = Unit(features, features)
        self.trunk_branches = nn.Sequential(*[Unit(features, features) for _ in range(2)])
        for number in range(1, 2 * levels):
            unit = Unit(features, features)
            if number == levels:
                unit = nn.Sequential(unit, Unit(features, features))
            elif number < levels:
                name = f"skip{number}_connection_residual_block"
                setattr(self, name, Unit(features, features))
            setattr(self, f"softmax{number}_blocks", unit)
        mask = nn.Sequential(
            nn.BatchNorm2d(features),
            nn.ReLU(),
            nn.Conv2d(features, features, 1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(),
            nn.Conv2d(features, features, 1, bias=False),
            nn.Sigmoid(),
        )
        setattr(self, f"softmax{2 * levels}_blocks", mask)
        self.last_blocks = Unit(features, features)

    def forward(self, x):
        def block(number):
            return getattr(self, f"softmax{number}_blocks")

        def resize(x, like):
            return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)

        x = self.first_residual_blocks(x)
        trunk = self.trunk_branches(x)
        down = []
        for number in range(1, self.levels + 1):
            x = block(number)(F.max_pool2d(x, 3, 2, 1))
            down.append(x)
        for number in range(self.levels - 1, 0, -1):
            skip = getattr(self, f"skip{number}_connection_residual_block")
            below = down[number - 1]
            x = block(2 * self.levels - number)(resize(x, below) + below + skip(below))
        mask = block(2 * self.levels)(resize(x, trunk) + trunk)
        return self.last_blocks((1 + mask) * trunk)


class ResidualAttention92(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.conv1 = nn.Sequential(conv, nn.BatchNorm2d(64), nn.ReLU())
        self.residual_block1 = Unit(64, 256)
        self.attention_module1 = AttentionModule(256, 3)
        self.residual_block2 = Unit(256, 512, 2)
        self.attention_module2 = AttentionModule(512, 2)
        self.attention_module2_2 = AttentionModule(512, 2)
        self.residual_block3 = Unit(512, 1024, 2)
        self.attention_module3 = AttentionModule(1024, 1)
        self.attention_module3_2 = AttentionModule(1024, 1)
        self.attention_module3_3 = AttentionModule(1024, 1)
        self.residual_block4 = Unit(1024, 2048, 2)
        self.residual_block5 = Unit(2048, 2048)
        self.residual_block6 = Unit(2048, 2048)
        self.mpool2 = nn.Sequential(nn.BatchNorm2d(2048), nn.ReLU())
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 3, 2, 1)
        x = self.attention_module1(self.residual_block1(x))
        x = self.attention_module2_2(self.attention_module2(self.residual_block2(x)))
        x = self.attention_module3(self.residual_block3(x))
        x = self.attention_module3_3(self.attention_module3_2(x))
        x = self.residual_block6(self.residual_block5(self.residual_block4(x)))
        return self.fc(self.mpool2(x).mean((2, 3)))


def make(name, num_classes, seed=0):
    """A twin with random weights and random batch statistics."""
    makers = {
        "resnet50": ResNet50,
        "densenet121": DenseNet121,
        "rcan": lambda n: DenseNet121(n, attention=True),
        "ran92": ResidualAttention92,
        "efficientnet_lite0": EfficientNetLite0,
        "efficientnet_lite1": lambda n: EfficientNetLite0(n, LITE1),
        "efficientnet_lite2": lambda n: EfficientNetLite0(n, LITE2),
    }
    torch.manual_seed(seed)
    twin = makers[name](num_classes)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return twin
