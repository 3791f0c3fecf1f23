"""The methods of the five papers as plain PyTorch: lift any of them into another project.

>>> import torch
>>> from equitutor.methods import polyphase
>>> polyphase.phase_scores(torch.tensor([[[[1.0, 3.0, 1.0, 3.0]]]]), (1, 2)).shape
torch.Size([1, 1, 2])
"""
