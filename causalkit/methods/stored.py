"""Fitted networks on disk: weights in safetensors, the rest in JSON and netCDF, without pickle."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr
from safetensors.torch import load_file, save_file
from sklearn.exceptions import NotFittedError

from causalkit import connectivity
from causalkit.training import choose_device
from causalkit.windows import Scaling

__all__ = ["StoredNetwork"]

_MODEL_FILES = {"model.json", "model.safetensors", "connectivity.nc", "diagnostics.nc", "training.nc"}


class StoredNetwork:
    """Adds `save` and `load` to a method that trains a network.

    The method provides ``_hyperparameters(n_neurons)``, ``_network(values, n_neurons)`` and ``_restore(values)``, which
    sets what else its fit keeps beside ``network_``, ``scaling_`` and ``device_``.
    """

    def _require_fit(self):
        if not hasattr(self, "connectivity_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(recording) first")

    def save(self, folder) -> Path:
        """Store the fitted ensemble: weights in safetensors, everything else in JSON and netCDF.

        Parameters
        ----------
        folder : path
            Made if missing; an earlier model in it is replaced.

        Raises
        ------
        ValueError
            If the folder exists and holds something else than a model.
        """
        self._require_fit()
        folder = Path(folder)
        if folder.exists() and not (folder.is_dir() and {f.name for f in folder.iterdir()} <= _MODEL_FILES):
            raise ValueError(f"{folder} holds other things than a model, which saving would delete: name a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            scaling = {name: np.asarray(value).tolist() for name, value in vars(self.scaling_).items()}
            parameters = self.get_params() | {"checkpoint": None, "device": "auto"}
            header = {"method": self.name, "version": self.algorithm_version, "parameters": parameters,
                      "scaling": scaling}  # fmt: skip
            (unfinished / "model.json").write_text(json.dumps(header, default=lambda number: number.item()))
            weights = {name: value.cpu().contiguous() for name, value in self.network_.state_dict().items()}
            save_file(weights, unfinished / "model.safetensors")
            for name in ("connectivity", "diagnostics", "training"):
                connectivity.to_netcdf(getattr(self, f"{name}_"), unfinished / f"{name}.nc")
            if folder.exists():  # an earlier model goes only when the new one is complete
                shutil.rmtree(folder)
            unfinished.replace(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder, device="auto"):
        """Read an ensemble that `save` stored, ready to `predict` and to show its `attention`.

        Raises
        ------
        ValueError
            If the folder holds no complete model, or one of another version.
        """
        folder = Path(folder)
        try:
            header = json.loads((folder / "model.json").read_text())
            stored = header["method"], header["version"]
            scaling = {name: np.array(v) if name in ("mean", "sd") else v for name, v in header["scaling"].items()}
            weights = load_file(folder / "model.safetensors")
            parts = {name: xr.load_dataset(folder / f"{name}.nc", engine="h5netcdf")
                     for name in ("connectivity", "diagnostics", "training")}  # fmt: skip
        except Exception as error:
            raise ValueError(f"{folder} holds no complete {cls.__name__} ({error}): store one with save()") from error
        if stored != (cls.name, cls.algorithm_version):
            raise ValueError(
                f"{folder} holds {stored[0]} version {stored[1]}, not {cls.name} version "
                f"{cls.algorithm_version}: its weights mean something else; fit again with this causalkit"
            )
        model = cls(**header["parameters"])
        model.device_ = choose_device(device)
        n_neurons = parts["connectivity"].sizes["target"]
        values = model._hyperparameters(n_neurons)
        model.network_ = model._network(values, n_neurons)
        model.network_.load_state_dict(weights)
        model.network_.to(model.device_).eval()
        model.scaling_ = Scaling(**scaling)
        model._restore(values)
        for name, part in parts.items():
            setattr(model, f"{name}_", part)
        return model
