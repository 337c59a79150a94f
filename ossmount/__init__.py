"""ossmount: an Alibaba Cloud OSS bucket as a folder, for training code."""

__version__ = "0.1.0"
