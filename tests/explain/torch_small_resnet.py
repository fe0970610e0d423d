"""A small torch twin with a ReLU module for every call, which is what Captum can override."""

import torch
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, in_features, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_features, width, 1, bias=False)
        self.bn1, self.relu1 = nn.BatchNorm2d(width), nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2, self.relu2 = nn.BatchNorm2d(width), nn.ReLU()
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3, self.relu3 = nn.BatchNorm2d(4 * width), nn.ReLU()
        self.downsample = nn.Sequential(
            nn.Conv2d(in_features, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
        )

    def forward(self, x):
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        return self.relu3(self.bn3(self.conv3(y)) + self.downsample(x))


class SmallResNet(nn.Module):
    """The twin of `ResNet(blocks=(1, 1, 1, 1))`, with random weights and statistics."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(64), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        features = 64
        for stage in range(4):
            block = Bottleneck(features, 64 * 2**stage, 2 if stage else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(block))
            features = 4 * 64 * 2**stage
        self.fc = nn.Linear(features, num_classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
                nn.init.normal_(module.running_mean, 0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def make(num_classes, seed=0):
    torch.manual_seed(seed)
    return SmallResNet(num_classes).eval()
