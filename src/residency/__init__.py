"""Train, examine and serve small vision-language models on medical images. Research software: not for diagnosis."""

import logging
import os

__version__ = "0.1.0"
NOT_FOR_DIAGNOSIS = "Research software. Not a medical device, not for diagnosis."

# Where it is installed, bitsandbytes advises every command on a CPU to install kernels that nothing here uses.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

# onnxruntime (text in pictures) reports its use to its maker unless told otherwise before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
