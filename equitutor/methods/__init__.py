"""The methods of the five papers as plain PyTorch: lift any of them into another project."""
