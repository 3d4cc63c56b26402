"""What can go wrong with a pose model.

ModelError
├── ModelNotInstalledError (ImportError)   an engine's or reader's package is missing
├── ModelNotOpenError (OSError)            no such folder, a damaged graph, a wrong hash, a wrong spec
├── LabelsError (ValueError)               a label file that cannot be read, labels that do not fit their use
├── TrainingInputError (ValueError)        a training configuration, label file or video that cannot be learnt from
├── ModelDiffersError (ValueError)         the engine does not find what the reference says, or there is none
├── ModelInputError (ValueError)           the camera's image is not what the graph was made for
└── ModelFailedError (RuntimeError)        inference failed while running
"""


class ModelError(Exception):
    """Any failure of a pose model."""


class ModelNotInstalledError(ModelError, ImportError):
    """The package that an engine or a reader needs is not installed."""


class ModelNotOpenError(ModelError, OSError):
    """The model folder cannot be read or is not what it claims to be."""


class LabelsError(ModelError, ValueError):
    """A label file is missing or damaged, or its labels do not fit what they are used for."""


class TrainingInputError(ModelError, ValueError):
    """A training configuration, label file or video is missing, damaged or does not fit the others."""


class ModelDiffersError(ModelError, ValueError):
    """The engine's poses are not those of the model's reference, or there is no reference to prove that they are."""


class ModelInputError(ModelError, ValueError):
    """The image does not have the shape or type that the model was exported for."""


class ModelFailedError(ModelError, RuntimeError):
    """Inference failed while the model was running."""
