"""Networks that the lessons look at and no paper of the book proposes, in plain PyTorch.

>>> import torch
>>> from equitutor.models import group_cnn
>>> group_cnn.GroupCNN(4)(torch.rand(2, 1, 28, 28)).shape
torch.Size([2, 10])
"""
